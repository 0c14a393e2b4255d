"""A result that is too long for the context is kept whole, and the model reads on in it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from agent_runtime.messages import ToolResult
from agent_runtime.testing import FakeTools, text_response, tool_call_response
from agent_runtime.testing import ScriptedModel as Scripted
from tasks_app.models import AgentTask, ToolCall, WholeResult
from tasks_app.worker.database import Database
from tests.long_runs.play import MANY, MODEL, Play
from tests.long_runs.stage import WindowedModel, Wire
from tests.support.engine_rows import a_task, claimed_task, drive
from tests.support.model_server import Reply, ask, say

pytestmark = pytest.mark.django_db(transaction=True)

NEEDLE = "the code is 7-green-owls"
HAYSTACK = "straw \u00e9 " * 125_000 + NEEDLE


def seeker(messages: Wire) -> Reply:
    """Fetch once, then look for the code by the notice in the cut result; report it."""
    last = str(messages[-1]["content"])
    handle = re.search(r"handle (r\d+-\d+-\d+) ", last)
    if messages[-1]["role"] != "tool":
        return ask(("fake__fetch", {}))
    if handle and NEEDLE not in last:
        return ask(("read_result", {"handle": handle[1], "find": "THE CODE IS"}))
    offset = re.search(r"(r\d+-\d+-\d+) offset (\d+)", last)
    if offset:
        return ask(("read_result", {"handle": offset[1], "offset": int(offset[2])}))
    return say(f"Found: {NEEDLE if NEEDLE in last else 'nothing'}")


async def test_a_needle_at_the_end_of_a_megabyte_is_found_with_one_call_of_the_tool(
    database: Database,
) -> None:
    long = HAYSTACK.replace(NEEDLE, "hay " * 50 + NEEDLE + " hay" * 20_000)
    task = await database.run(lambda: a_task(model=MODEL, limits=MANY))
    tools = FakeTools({"fetch": lambda _: long})
    model = WindowedModel(seeker, window=16_000, names_window=True)
    await Play(database=database, answer=model, tools=tools).perform(task)
    assert (task.status, task.report) == ("COMPLETED", f"Found: {NEEDLE}")
    assert len(tools.sent) == 1
    assert task.tool_calls_made == 1
    await database.run(check_rows, task, long)


def check_rows(task: AgentTask, whole: str) -> None:
    fetch, *reads = ToolCall.objects.filter(step__task=task).order_by("step__index")
    assert fetch.result_size == len(whole)
    assert fetch.result is not None
    assert fetch.result.startswith("straw")
    assert len(fetch.result) < 40_000
    kept = WholeResult.objects.get(pk=fetch.pk)
    assert (kept.text, kept.complete) == (whole, True)
    assert [read.name for read in reads] == ["read_result"] * len(reads)
    assert WholeResult.objects.filter(call__step__task=task).count() == 1


async def test_what_is_longer_than_is_kept_says_so_in_its_last_page(database: Database) -> None:
    task, claim = await database.run(claimed_task)
    tools = FakeTools({"fetch": lambda _: "a" * 2_500_000})
    model = Scripted(
        (
            tool_call_response(("fake__fetch", {})),
            tool_call_response(("read_result", {"handle": "r1-1-0", "offset": 1_999_990})),
            text_response("Read."),
        )
    )
    await drive(database, model, tools, claim)
    page = json.loads(model.requests[-1].messages[-1].wire)["content"]
    assert page == (
        "[r1-1-0: characters 1,999,990 to 2,000,000 of 2,000,000 of what was kept; the result was "
        f"longer; this is the end]\n{'a' * 10}"
    )
    kept = await database.run(lambda: WholeResult.objects.get(call__step__task=task))
    assert (len(kept.text), kept.complete) == (2_000_000, False)


@pytest.mark.parametrize(
    ("arguments", "answer", "state"),
    [
        ({"handle": "r9-9-9"}, "This task has no result with the handle 'r9-9-9'.", "failed"),
        ({"handle": "'; drop"}, 'This task has no result with the handle "\'; drop".', "failed"),
        ({}, "Name the handle of a result", "failed"),
        ({"find": "tickets"}, "- r1-1-0 offset 4 (fake__search): …one tickets…", "succeeded"),
        ({"find": "nowhere"}, "'nowhere' is not found.", "succeeded"),
        ({"handle": "r1-1-0"}, "[r1-1-0: characters 0 to 11 of 11; this is the end]", "succeeded"),
        ({"handle": "r1-1-0", "offset": 50}, "r1-1-0 has 11 characters: offset 50", "succeeded"),
        ({"handle": "r1-1-0", "offset": -1}, "The arguments do not fit", "failed"),
    ],
)
async def test_any_result_of_the_task_can_be_read(
    database: Database, arguments: dict[str, Any], answer: str, state: str
) -> None:
    task, claim = await database.run(claimed_task)
    _, other_claim = await database.run(claimed_task)
    tools = FakeTools({"search": lambda _: ToolResult(text="one tickets")})
    secret = FakeTools({"search": lambda _: ToolResult(text="tickets of somebody else")})
    await drive(
        database,
        Scripted((tool_call_response(("fake__search", {})), text_response("Done."))),
        secret,
        other_claim,
    )
    script = (
        tool_call_response(("fake__search", {})),
        tool_call_response(("read_result", arguments)),
        text_response("Done."),
    )
    await drive(database, Scripted(script), tools, claim)
    call = await database.run(
        lambda: ToolCall.objects.get(step__task=task, name="read_result", step__index=2)
    )
    assert (call.state, (call.result or "").startswith(answer)) == (state, True), call.result
    assert "somebody else" not in (call.result or "")
