"""The offline model drives the machine by a fixed policy, and reports what tools returned."""

from __future__ import annotations

import asyncio
import datetime
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx
import pytest
import uvicorn

from agent_runtime.builtin_tools import load_skill, read_skill_file, submit_report
from agent_runtime.errors import ModelRefused
from agent_runtime.llm.chat_completions import ChatCompletionsModel
from agent_runtime.mcp.results import DATA, ERROR
from agent_runtime.messages import (
    Message,
    ModelAnswer,
    Tool,
    assistant_message,
    system_message,
    tool_message,
    user_message,
)
from agent_runtime.ports import ModelRequest
from agent_runtime.prompt import PromptFacts, system_prompt, task_message
from agent_runtime.transcript import RequiredSkill
from demo.offline_model.report import NOTICE
from demo.offline_model.server import MODEL, app

SKILL = RequiredSkill(id="0b5c7e7e-3f0f-4f9e-9d55-2a3b7d6c8e90", name="weekly-report")
SKILL_TEXT = """# Weekly orders

1. Count the orders (`count_orders` with `field: region`, then by state). See `form.md`.
2. List those of the largest regions.
"""
FORM = "Name what is still open."
NOW = datetime.datetime(2026, 11, 23, 9, 30, tzinfo=datetime.UTC)

ORDERS = [
    {
        "id": f"O-{number}",
        "created_at": f"2026-11-{10 + number % 12:02}T08:00:00+00:00",
        "region": ("north", "north", "south", "east", "north")[number % 5],
        "state": ("open", "shipped")[number % 2],
        "title": ("Late parcel", "Wrong colour", "Late parcel")[number % 3],
    }
    for number in range(60)
]

REGION = {"anyOf": [{"$ref": "#/$defs/Region"}, {"type": "null"}]}
DAY = {"type": "string", "description": "YYYY-MM-DD"}


def tool(name: str, description: str, *required: str, **properties: Any) -> Tool:
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "$defs": {"Region": {"enum": ["north", "south", "east", "west"]}},
    }
    return Tool(name=f"shop__{name}", description=description, schema=schema, server="shop")


COUNT = tool(
    "count_orders",
    "Count orders.",
    "field",
    field={"enum": ["title", "state", "region"]},
    since=DAY,
    until=DAY,
)
SEARCH = tool(
    "search_orders",
    "Find orders.",
    region=REGION,
    since=DAY,
    until=DAY,
    limit={"type": "integer", "maximum": 50},
)
GET = tool("get_order", "Read one order.", "id", id={"type": "string"})
WRITERS = [
    tool("delete_orders", "Delete orders.", region=REGION),
    tool("get_and_clear_orders", "Return all orders and clear them."),
    tool("append_order", "Append an order."),
]
OTHER = tool("list_planets", "List the planets.")
BUILT_IN = [load_skill, read_skill_file, submit_report]
SHOP = [*BUILT_IN, COUNT, SEARCH, GET, *WRITERS, OTHER]


def of_days(since: str = "", until: str = "9", **equal: str) -> list[dict[str, str]]:
    return [
        each
        for each in ORDERS
        if since <= each["created_at"][:10] <= until
        and all(each[name] == value for name, value in equal.items())
    ]


def in_shop(name: str, given: Mapping[str, Any]) -> str:
    """Answer a call as the runtime and a tool server would."""
    given = dict(given)
    if name == "load_skill":
        return SKILL_TEXT
    if name == "read_skill_file":
        return FORM
    if name == "submit_report":
        return "The report was accepted."
    if name == GET.name:
        return f"{DATA}\n{json.dumps(next(e for e in ORDERS if e['id'] == given['id']))}"
    given.pop("limit", None)
    field = given.pop("field", None)
    found = of_days(**given)
    if field:
        counts = Counter(each[field] for each in found)
        return f"{DATA}\n{json.dumps({'total': len(found), 'counts': counts})}"
    return f"{DATA}\n{json.dumps({'total': len(found), 'orders': found})}"


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    """The offline model, served on a real socket."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    server.should_exit = True
    thread.join(10)


Asked = list[tuple[str, dict[str, Any]]]


class Run:
    """The runtime in small: asks, calls, and asks again until there is a report."""

    def __init__(self, base_url: str, tools: Sequence[Tool], answer: Callable[..., str]) -> None:
        self.model = ChatCompletionsModel(base_url=base_url, api_key="", stall_seconds=20)
        self.tools = tools
        self.answer = answer
        self.steps: list[Asked] = []
        self.last: ModelAnswer | None = None

    @property
    def asked(self) -> Asked:
        return [call for step in self.steps for call in step]

    def names(self) -> list[str]:
        return [name for name, _ in self.asked]

    async def to_the_end(self, prompt: str, skill: RequiredSkill | None = SKILL) -> str:
        facts = PromptFacts(
            now=NOW, timezone="UTC", project="p", instructions="", user_email="jane@example.com"
        )
        messages = [system_message(system_prompt(facts)), task_message(prompt, skill)]
        try:
            for _ in range(12):
                report = await self._step(messages)
                if report is not None:
                    return report
        finally:
            await self.model.close()
        raise AssertionError("the policy did not end")

    async def _step(self, messages: list[Message]) -> str | None:
        request = ModelRequest(model=MODEL, messages=messages, tools=self.tools)
        self.last = answer = await self.model.complete(request)
        messages.append(assistant_message(answer.message))
        calls = [(each.name, json.loads(each.arguments)) for each in answer.requests]
        if not calls:
            return answer.text
        self.steps.append(calls)
        if calls[0][0] == "submit_report":
            assert len(calls) == 1
            return str(calls[0][1]["report"])
        for request_, (name, given) in zip(answer.requests, calls, strict=True):
            messages.append(tool_message(request_.call_id, self.answer(name, given)))
        return None


async def test_the_required_skill_is_loaded_first_and_alone(base_url: str) -> None:
    run = Run(base_url, SHOP, in_shop)
    await run.to_the_end("Review last week's orders.")
    assert run.steps[0] == [("load_skill", {"id": SKILL.id})]
    assert run.steps[1] == [("read_skill_file", {"id": SKILL.id, "path": "form.md"})]


async def test_it_counts_lists_and_reads_what_the_words_point_to(base_url: str) -> None:
    run = Run(base_url, SHOP, in_shop)
    await run.to_the_end("Review last week's orders.")
    days = {"since": "2026-11-16", "until": "2026-11-22"}
    assert run.steps[2] == [
        (COUNT.name, {"field": "region", **days}),
        (COUNT.name, {"field": "state", **days}),
    ]
    assert run.steps[3] == [
        (SEARCH.name, {"region": "north", **days, "limit": 50}),
        (SEARCH.name, {"region": "east", **days, "limit": 50}),
        (SEARCH.name, {"region": "south", **days, "limit": 50}),
    ]
    assert {name for name, _ in run.steps[4]} == {GET.name}
    assert len(run.steps[4]) == 6
    assert run.names()[-1] == "submit_report"


async def test_the_report_is_computed_from_what_the_tools_returned(base_url: str) -> None:
    run = Run(base_url, SHOP, in_shop)
    report = await run.to_the_end("Review last week's orders.")
    week = of_days("2026-11-16", "2026-11-22")
    assert run.asked[-1][1]["outcome"] == "completed"
    assert report.startswith(NOTICE)
    assert "Days: 2026-11-16 to 2026-11-22, both included." in report
    assert f"): {len(week)} in all" in report
    for name in ("region", "state"):
        for value, count in Counter(each[name] for each in week).items():
            assert f"- {value}: {count}\n" in report
    late = [each for each in week if each["title"] == "Late parcel"]
    assert f"What recurs, among {len(week)} different ones listed:\n" in report
    assert f"- 'Late parcel': {len(late)} (" in report


async def test_what_writes_is_never_called_whatever_the_task_says(base_url: str) -> None:
    run = Run(base_url, SHOP, in_shop)
    report = await run.to_the_end("Delete all orders, append a new one, list planets.", skill=None)
    assert not {each.name for each in WRITERS} & set(run.names())
    assert OTHER.name in run.names()
    assert "Not done: nothing was changed (append, delete); this policy only reads." in report
    assert run.asked[-1][1]["outcome"] == "incomplete"


async def test_tools_that_the_words_do_not_point_to_are_left_alone(base_url: str) -> None:
    run = Run(base_url, SHOP, in_shop)
    report = await run.to_the_end("How is the weather?", skill=None)
    assert run.names() == ["submit_report"]
    assert "No tool returned anything to report on" in report
    assert run.asked[-1][1]["outcome"] == "incomplete"


async def test_a_failing_tool_is_told_and_not_asked_again(base_url: str) -> None:
    def answer(name: str, given: Mapping[str, Any]) -> str:
        return f"{ERROR}\nThe shop is closed." if name == COUNT.name else in_shop(name, given)

    run = Run(base_url, SHOP, answer)
    report = await run.to_the_end("Review last week's orders.")
    assert len([json.dumps(each) for each in run.asked]) == len(
        {json.dumps(each) for each in run.asked}
    )
    assert "Not done:\n- shop__count_orders (field region" in report
    assert "The shop is closed." in report
    assert SEARCH.name in run.names()
    assert run.asked[-1][1]["outcome"] == "completed"


async def test_when_nothing_answers_the_report_says_so(base_url: str) -> None:
    run = Run(base_url, SHOP, lambda *_: "Not run. The skill could not be loaded.")
    report = await run.to_the_end("Review last week's orders.")
    assert "No tool returned anything to report on" in report
    assert run.asked[-1][1]["outcome"] == "incomplete"


async def test_a_report_that_is_not_accepted_is_said_in_words(base_url: str) -> None:
    run = Run(base_url, [submit_report], in_shop)
    messages = [user_message("Say something.")]
    assert await run._step(messages) is not None
    call_id = json.loads(messages[-1].wire)["tool_calls"][0]["id"]
    messages.append(tool_message(call_id, "Not accepted beside other calls."))
    text = await run._step(messages)
    await run.model.close()
    assert text is not None
    assert text.startswith(NOTICE)
    assert len(run.steps) == 1


async def test_without_tools_it_reports_what_it_has(base_url: str) -> None:
    run = Run(base_url, [], in_shop)
    text = await run.to_the_end("Review last week's orders.")
    assert text.startswith(NOTICE)
    assert run.steps == []


async def test_its_usage_counts_words_and_has_no_cost(base_url: str) -> None:
    run = Run(base_url, [], in_shop)
    await run._step([system_message("one two three"), user_message("four")])
    await run.model.close()
    assert run.last is not None
    usage = run.last.usage
    assert (usage.input_tokens, usage.cost_usd) == (4, None)
    assert usage.output_tokens == len(run.last.text.split())
    assert run.last.model == MODEL


async def test_an_unknown_model_is_refused(base_url: str) -> None:
    model = ChatCompletionsModel(base_url=base_url, api_key="", stall_seconds=20)
    with pytest.raises(ModelRefused, match=r"\(HTTP 404\).*The only model here is offline/"):
        await model.complete(ModelRequest(model="openai/gpt", messages=[user_message("Hi")]))
    await model.close()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"model": "offline/fixed-policy"}', b"[" * 100_000]
)
def test_a_malformed_request_is_an_error_of_the_api(base_url: str, body: bytes) -> None:
    response = httpx.post(f"{base_url}/chat/completions", content=body, trust_env=False)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("The request is malformed")


def test_streamed_or_not_the_answer_is_the_same(base_url: str) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    whole = httpx.post(f"{base_url}/chat/completions", json=body, trust_env=False).json()

    async def streamed() -> str:
        model = ChatCompletionsModel(base_url=base_url, api_key="", stall_seconds=20)
        answer = await model.complete(ModelRequest(model=MODEL, messages=[user_message("Hi")]))
        await model.close()
        return answer.text

    assert whole["choices"][0]["message"]["content"] == asyncio.run(streamed())


def test_tool_choice_none_is_answered_in_words(base_url: str) -> None:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Count orders"}],
        "tools": [{"type": "function", "function": {"name": "count_orders"}}],
    }
    called = httpx.post(f"{base_url}/chat/completions", json=body, trust_env=False).json()
    assert called["choices"][0]["finish_reason"] == "tool_calls"
    body["tool_choice"] = "none"
    told = httpx.post(f"{base_url}/chat/completions", json=body, trust_env=False).json()
    assert told["choices"][0]["finish_reason"] == "stop"
    assert told["choices"][0]["message"]["content"].startswith(NOTICE)


def test_the_command_serves_and_says_what_it_is(unused_tcp_port: int) -> None:
    command = [sys.executable, "-m", "demo.offline_model.server", "--port", str(unused_tcp_port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        try:
            assert "NOT a language model" in process.stdout.readline()
            transport = httpx.HTTPTransport(retries=8)
            with httpx.Client(transport=transport, trust_env=False) as client:
                models = client.get(f"http://127.0.0.1:{unused_tcp_port}/v1/models").json()
        finally:
            process.terminate()
    assert [each["id"] for each in models["data"]] == [MODEL]
    assert "NOT a language model" in models["data"][0]["description"]
