"""What a provider sent is read, and made fit to be sent back."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agent_runtime.llm.request_body import CHUNK, RequestBodies, RequestBody
from agent_runtime.llm.schema import error_in, read_completion
from agent_runtime.messages import (
    ModelAnswer,
    Tool,
    ToolRequest,
    Usage,
    assistant_message,
    user_message,
)
from agent_runtime.ports import ModelRequest
from tests.support.model_server import completion


def read(body: dict[str, Any], salt: str = "1") -> ModelAnswer:
    return read_completion(body, model="asked/model", request_id="from-header", salt=salt)


def read_message(**message: Any) -> ModelAnswer:
    return read(completion({"role": "assistant", **message}))


def tool_call(**function: Any) -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": "t", **function}}


def test_a_plain_answer_is_read() -> None:
    assert read(completion({"role": "assistant", "content": "Hi"})) == ModelAnswer(
        message={"role": "assistant", "content": "Hi"},
        text="Hi",
        finish_reason="stop",
        usage=Usage(input_tokens=10, output_tokens=5),
        model="test/model",
        request_id="gen-1",
    )


def test_what_the_body_does_not_name_comes_from_elsewhere() -> None:
    body = completion({"content": "Hi"}, id=None, model=None, usage=None)
    body["choices"][0]["finish_reason"] = None
    answer = read(body)
    assert (answer.model, answer.request_id) == ("asked/model", "from-header")
    assert (answer.finish_reason, answer.usage) == ("stop", Usage())


def test_unknown_keys_of_the_message_come_back_on_the_wire() -> None:
    details = [{"type": "reasoning.text", "text": "hm", "signature": "Et8B=", "index": 0}]
    call = {**tool_call(arguments="{}"), "extra_content": {"thought_signature": "x"}}
    answer = read_message(content=None, reasoning_details=details, tool_calls=[call], x=1.5)
    assert json.loads(assistant_message(answer.message).wire) == {
        "role": "assistant",
        "content": None,
        "reasoning_details": details,
        "tool_calls": [call],
        "x": 1.5,
    }


def test_content_in_parts_is_read_as_text_and_kept_as_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}, "b"]
    answer = read_message(content=parts)
    assert answer.text == "ab"
    assert answer.message["content"] == parts


def test_parallel_tool_calls_become_requests() -> None:
    calls = [{**tool_call(arguments='{"a":1}'), "id": f"c{n}"} for n in (1, 2)]
    assert read_message(tool_calls=calls).requests == (
        ToolRequest(call_id="c1", name="t", arguments='{"a":1}'),
        ToolRequest(call_id="c2", name="t", arguments='{"a":1}'),
    )


def test_missing_and_doubled_ids_are_made_and_stable() -> None:
    calls = [{"function": {"name": "t"}}, tool_call(), tool_call(), {**tool_call(), "id": "ä\n"}]
    body = completion({"tool_calls": calls})
    ids = [each.call_id for each in read(body).requests]
    assert ids[1] == "c1"
    assert len(set(ids)) == 4
    assert all(re.fullmatch("[A-Za-z0-9]{9}", each) for each in (ids[0], ids[2], ids[3]))
    assert ids == [each.call_id for each in read(body).requests]
    assert ids[0] != read(body, salt="2").requests[0].call_id
    assert [each["id"] for each in read(body).message["tool_calls"]] == ids


@pytest.mark.parametrize(
    ("arguments", "request_has", "message_has"),
    [
        ('{"a": 1}', '{"a": 1}', '{"a": 1}'),
        ("", "{}", "{}"),
        (None, "{}", "{}"),
        ({"a": "ä"}, '{"a": "ä"}', '{"a": "ä"}'),
        ('{"a": ', '{"a": ', '{"unreadable_arguments": "{\\"a\\": "}'),
        ("[1]", "[1]", '{"unreadable_arguments": "[1]"}'),
    ],
)
def test_arguments_are_always_an_object_in_the_message(
    arguments: Any, request_has: str, message_has: str
) -> None:
    answer = read_message(tool_calls=[tool_call(arguments=arguments)])
    assert answer.requests[0].arguments == request_has
    assert answer.message["tool_calls"][0]["function"]["arguments"] == message_has


def test_arguments_nested_without_end_do_no_harm() -> None:
    deep = "[" * 100_000
    answer = read_message(tool_calls=[tool_call(arguments=deep)])
    assert answer.requests[0].arguments == deep


@pytest.mark.parametrize(
    ("name", "used"),
    [("functions.find it", "functions_find_it"), ("", "unnamed"), (None, "unnamed")],
)
def test_a_name_that_providers_refuse_is_made_plain(name: str | None, used: str) -> None:
    answer = read_message(tool_calls=[{"id": "c", "function": {"name": name}}])
    assert answer.requests[0].name == used
    assert answer.message["tool_calls"][0]["function"]["name"] == used
    assert answer.message["tool_calls"][0]["type"] == "function"


def test_an_empty_answer_can_be_sent_back() -> None:
    answer = read_message(content=None, tool_calls=[])
    assert answer.message == {"role": "assistant", "content": ""}
    assert answer.requests == ()


def test_control_characters_and_halves_are_cleaned_everywhere() -> None:
    body = completion({"content": "a\x00\ud83d\ude00", "k\x00": ["\ud800"]}, model="m\x00")
    answer = read(body)
    assert answer.text == "a😀"
    assert answer.message["k"] == ["\ufffd"]
    assert answer.model == "m"


def test_usage_is_read_with_cached_and_reasoning_tokens_and_cost() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 80},
        "completion_tokens_details": {"reasoning_tokens": 20},
        "cost": 0.0125,
        "cost_details": {"upstream_inference_cost": 9.0},
    }
    assert read(completion({"content": ""}, usage=usage)).usage == Usage(
        input_tokens=100,
        output_tokens=50,
        cached_input_tokens=80,
        reasoning_tokens=20,
        cost_usd=0.0125,
    )


def test_with_a_key_at_the_models_maker_both_bills_count() -> None:
    usage = {"cost": 0.5, "is_byok": True, "cost_details": {"upstream_inference_cost": 9.5}}
    assert read(completion({"content": ""}, usage=usage)).usage.cost_usd == 10.0


@pytest.mark.parametrize(
    "usage",
    [
        None,
        "many",
        [],
        {"prompt_tokens": "many", "completion_tokens": -1, "cost": "dear"},
        {"prompt_tokens": 10**30, "cost": float("inf"), "prompt_tokens_details": []},
        {"cost": -1, "completion_tokens_details": {"reasoning_tokens": None}},
    ],
)
def test_odd_usage_does_not_cost_us_the_answer(usage: Any) -> None:
    answer = read(completion({"content": "Hi"}, usage=usage))
    assert (answer.text, answer.usage) == ("Hi", Usage())


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": []},
        {"choices": None},
        {"choices": [None]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": 5}}]},
        {"choices": [{"message": {"tool_calls": [{"function": None}]}}]},
        {"choices": [{"message": {"tool_calls": ["odd"]}}]},
    ],
)
def test_what_is_no_completion_is_an_error(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        read(body)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "choices",
                        "message",
                        "content",
                        "tool_calls",
                        "function",
                        "name",
                        "usage",
                        "id",
                    ]
                ),
                inner,
            )
        ),
        max_leaves=20,
    )
)
def test_whatever_comes_is_an_answer_or_a_value_error(value: Any) -> None:
    body = value if isinstance(value, dict) else {"choices": value}
    error_in(body)
    try:
        answer = read(body)
    except ValueError:
        return
    assistant_message(answer.message)


def test_errors_are_found_wherever_they_are() -> None:
    error = {"code": 429}
    assert error_in({"error": error}) == error
    assert error_in({"choices": [{"error": error}]}) == error
    assert error_in({"choices": [{"finish_reason": "error"}]}) is not None
    assert error_in({"choices": [{"finish_reason": "stop"}], "error": None}) is None


SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}}


def pieces(body: RequestBody) -> list[bytes]:
    async def sent() -> list[bytes]:
        return [piece async for piece in body]

    return asyncio.run(sent())


def read_back(body: RequestBody) -> Any:
    return json.loads(b"".join(pieces(body)))


def test_a_body_is_joined_from_the_ready_bytes() -> None:
    messages = [user_message("Grüße"), user_message("two")]
    tool = Tool(name="t", description="d", schema=SCHEMA)
    request = ModelRequest(model="m", messages=messages, tools=[tool])
    body = RequestBodies(marks_cache=True).build(request)
    [sent] = pieces(body)
    assert len(sent) == len(body)
    assert messages[0].wire in sent
    assert json.loads(sent) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Grüße"}, {"role": "user", "content": "two"}],
        "tools": [
            {
                "type": "function",
                "function": {"name": "t", "description": "d", "parameters": SCHEMA},
            }
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_long_body_leaves_in_pieces_and_can_be_sent_again() -> None:
    messages = [user_message("x" * 30_000)] * 5
    body = RequestBodies(marks_cache=False).build(ModelRequest(model="m", messages=messages))
    assert [len(piece) > CHUNK for piece in pieces(body)] == [True, False]
    assert sum(map(len, pieces(body))) == len(body)
    assert len(read_back(body)["messages"]) == 5


def test_without_tools_none_are_named() -> None:
    body = RequestBodies(marks_cache=False).build(ModelRequest(model="m", messages=[]))
    assert "tools" not in read_back(body)


def test_an_answer_in_words_is_asked_for_with_the_tools_still_named() -> None:
    tool = Tool(name="t", description="d", schema=SCHEMA)
    request = ModelRequest(model="m", messages=[], tools=[tool], tools_disabled=True)
    body = read_back(RequestBodies(marks_cache=False).build(request))
    assert body["tool_choice"] == "none"
    assert len(body["tools"]) == 1


def test_the_cache_is_marked_for_the_models_that_need_it() -> None:
    request = ModelRequest(model="anthropic/claude", messages=[])
    marked = read_back(RequestBodies(marks_cache=True).build(request))
    assert marked["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in read_back(RequestBodies(marks_cache=False).build(request))


def test_tools_are_encoded_once_and_never_confused() -> None:
    bodies = RequestBodies(marks_cache=False)
    for number in range(200):  # each set is dropped at once: its ids are free to be given again
        tool = Tool(name=f"t{number}", description="", schema={})
        for _ in range(2):
            body = read_back(bodies.build(ModelRequest(model="m", messages=[], tools=[tool])))
            assert body["tools"][0]["function"]["name"] == f"t{number}"
