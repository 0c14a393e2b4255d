"""A streamed answer is put together as if it had been received whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.llm.sse import EventReader, StreamedCompletion, TooLong
from tests.support.model_server import delta


def put_together(*chunks: dict[str, Any]) -> dict[str, Any]:
    completion = StreamedCompletion()
    for chunk in chunks:
        completion.add(chunk)
    return completion.whole()


def message(*deltas: dict[str, Any]) -> Any:
    return put_together(*[delta(**each) for each in deltas])["choices"][0]["message"]


def call(index: int | None = None, **values: Any) -> dict[str, Any]:
    function = {key: values.pop(key) for key in ("name", "arguments") if key in values}
    place = {} if index is None else {"index": index}
    return {"tool_calls": [{**place, **values, "function": function}]}


def feed_all(take: Callable[[Any], object], pieces: Iterable[Any]) -> None:
    for piece in pieces:
        take(piece)


STREAM = b': comment\r\ndata: {"a":1}\r\n\r\nevent: x\ndata: one\ndata: two\n\n\ndata:[DONE]'


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_events_are_the_same_wherever_the_bytes_are_cut(cuts: list[int]) -> None:
    reader, found = EventReader(), []
    places = [0, *sorted(cuts), len(STREAM)]
    for start, end in pairwise(places):
        found += reader.feed(STREAM[start:end])
    found += reader.end()
    assert found == [b'{"a":1}', b"one\ntwo", b"[DONE]"]


def test_a_line_without_end_is_too_long() -> None:
    reader = EventReader()
    with pytest.raises(TooLong):
        feed_all(reader.feed, [b"x" * 1_000_000] * 17)


def test_an_event_of_many_lines_is_too_long() -> None:
    reader = EventReader()
    with pytest.raises(TooLong):
        feed_all(reader.feed, [b"data: " + b"x" * 1_000_000 + b"\n"] * 17)


def test_text_is_joined_and_the_ends_of_the_answer_are_kept() -> None:
    usage = {"prompt_tokens": 3}
    whole = put_together(
        delta(role="assistant", content=""),
        delta(content="Hel"),
        delta(content="lo"),
        delta("stop"),
        {"choices": [], "usage": usage},
    )
    assert whole["choices"] == [
        {"finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}
    ]
    assert (whole["id"], whole["model"], whole["usage"]) == ("gen-1", "test/model", usage)


def test_unknown_keys_survive() -> None:
    assert message(
        {"reasoning": "Let ", "x": {"deep": ["a"], "n": 1}, "nothing": None},
        {"reasoning": "me", "x": {"deep": ["b"], "n": 2, "m": True}},
    ) == {"reasoning": "Let me", "x": {"deep": ["a", "b"], "n": 2, "m": True}, "nothing": None}


def test_a_signed_block_of_reasoning_becomes_one_block_again() -> None:
    def detail(**values: Any) -> dict[str, Any]:
        return {"reasoning_details": [{"type": "reasoning.text", "index": 0, **values}]}

    assert message(
        detail(text="Let", format="anthropic-claude-v1"),
        detail(text=" me.", format="anthropic-claude-v1"),
        detail(signature="Et8B"),
    )["reasoning_details"] == [
        {
            "type": "reasoning.text",
            "index": 0,
            "text": "Let me.",
            "format": "anthropic-claude-v1",
            "signature": "Et8B",
        }
    ]


def test_sealed_blocks_under_one_index_stay_apart() -> None:
    blocks = [
        {"type": "reasoning.text", "text": "hm", "index": 0},
        {"type": "reasoning.encrypted", "data": "AAA", "index": 0},
        {"type": "reasoning.encrypted", "data": "BBB", "index": 0},
        {"type": "reasoning.encrypted", "data": "CCC", "id": "tool_1"},
    ]
    assert message(*[{"reasoning_details": [each]} for each in blocks]) == {
        "reasoning_details": blocks
    }


def test_parallel_tool_calls_are_told_apart_by_their_index() -> None:
    assert message(
        call(0, id="a", type="function", name="one", arguments=""),
        call(1, id="b", type="function", name="two", arguments=""),
        call(1, arguments='{"x":'),
        call(0, arguments="{}"),
        call(1, arguments="1}"),
    )["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "one", "arguments": "{}"}},
        {"id": "b", "type": "function", "function": {"name": "two", "arguments": '{"x":1}'}},
    ]


@pytest.mark.parametrize("index", [None, 0])
def test_tool_calls_with_one_index_or_none_are_told_apart_by_their_ids(index: int | None) -> None:
    assert message(
        call(index, id="a", name="one", arguments="{"),
        call(index, arguments="}"),
        call(index, id="b", name="one", arguments="{"),
        call(index, id="", name="", arguments="}"),
    )["tool_calls"] == [
        {"id": "a", "function": {"name": "one", "arguments": "{}"}},
        {"id": "b", "function": {"name": "one", "arguments": "{}"}},
    ]


def test_a_repeated_id_and_an_empty_name_do_not_double_or_blank_them() -> None:
    assert message(
        call(0, id="a", name="one", arguments="{"),
        call(0, id="a", name="", arguments="}"),
        call(0, id=None, name=None),
    )["tool_calls"] == [{"id": "a", "function": {"name": "one", "arguments": "{}"}}]


def test_other_choices_and_null_deltas_are_passed_over() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "no"}}, {"delta": None}, "odd"]}
    assert put_together(delta(content="yes"), other, {"choices": None}, {})["choices"] == [
        {"message": {"content": "yes"}}
    ]


def test_a_stream_that_held_nothing_has_no_choices() -> None:
    assert put_together({"choices": []}, {"usage": {}})["choices"] == []


def test_an_answer_that_grows_without_end_is_too_long() -> None:
    with pytest.raises(TooLong):
        feed_all(StreamedCompletion().add, [delta(content="x" * 1_000_000)] * 17)
    calls = (delta(**call(index, id=str(index), name="t")) for index in range(1_001))
    with pytest.raises(TooLong):
        feed_all(StreamedCompletion().add, calls)


@given(st.text(max_size=30), st.lists(st.integers(0, 60), max_size=6))
def test_a_text_is_the_same_wherever_it_is_cut(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(each, len(text)) for each in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(places)]
    deltas = [{"content": piece} for piece in pieces]
    assert message(*deltas) == {"content": text}
    assert json.loads(json.dumps(message(*deltas))) == {"content": text}
