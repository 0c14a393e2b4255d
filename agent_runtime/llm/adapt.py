"""A transcript's messages as a provider takes them that does not take them as they are.

Only requests with an adaptation come here: the others are joined from ready bytes.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from agent_runtime.adaptation import Adaptation, Shape
from agent_runtime.llm.calls import short_id
from agent_runtime.messages import Message, encode, text_of

BRIDGE = "(The tool's result was read.)"  # between a tool's result and words for the model
REMEMBERED = 2_048  # adapted messages: a transcript is sent again at each step


def adapted_messages(messages: Sequence[Message], adaptation: Adaptation) -> Iterable[bytes]:
    """Return the messages on the wire."""
    fields, shapes = adaptation.fields, adaptation.shapes
    if not fields and not shapes:
        return [message.wire for message in messages]
    own = shapes - {Shape.ALTERNATE, Shape.SYSTEM_AS_USER, Shape.TOOL_NAMES}
    wires = [_adapted(message.wire, fields, own) for message in messages]
    if own == shapes:
        return wires
    bodies: Iterable[dict[str, Any]] = map(json.loads, wires)
    if Shape.TOOL_NAMES in shapes:
        bodies = _with_tool_names(bodies)
    if Shape.SYSTEM_AS_USER in shapes:
        bodies = _with_system_as_user(bodies)
    if Shape.ALTERNATE in shapes:
        bodies = _alternating(bodies)
    return map(encode, bodies)


@functools.lru_cache(maxsize=REMEMBERED)
def _adapted(wire: bytes, fields: frozenset[str], shapes: frozenset[Shape]) -> bytes:
    """Return one message without the fields, and in the shapes that it has by itself."""
    is_result = wire.startswith(b'{"role":"tool"') and Shape.SHORT_IDS in shapes
    if not is_result and not wire.startswith(b'{"role":"assistant"'):
        return wire
    body = json.loads(wire)
    if body["role"] == "assistant":
        body = _without(body, fields)
        body["tool_calls"] = [
            {**_without(call, fields), "function": _without(call["function"], fields)}
            for call in body.get("tool_calls", ())
        ]
    if Shape.SHORT_IDS in shapes:
        _shorten_ids(body)
    if Shape.TEXT_CONTENT in shapes and not isinstance(body["content"], str):
        body["content"] = text_of(body)
    if not body.get("tool_calls"):
        body.pop("tool_calls", None)
    return encode(body)


def _without(body: dict[str, Any], fields: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in fields}


def _shorten_ids(body: dict[str, Any]) -> None:
    if "tool_call_id" in body:
        body["tool_call_id"] = _short(body["tool_call_id"])
    for call in body.get("tool_calls", ()):
        call["id"] = _short(call["id"])


def _short(call_id: str) -> str:
    plain = len(call_id) == 9 and call_id.isascii() and call_id.isalnum()
    return call_id if plain else short_id(call_id)


def _with_tool_names(bodies: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    names: dict[str, str] = {}
    for body in bodies:
        for call in body.get("tool_calls", ()):
            names[call["id"]] = call["function"]["name"]
        if body["role"] == "tool" and body["tool_call_id"] in names:
            body["name"] = names[body["tool_call_id"]]
        yield body


def _with_system_as_user(bodies: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Put the system prompt, word for word, at the head of the first user message."""
    prompt = ""
    for body in bodies:
        if body["role"] == "system":
            prompt += f"{body['content']}\n\n"
            continue
        if prompt and body["role"] == "user":
            body["content"] = prompt + body["content"]
            prompt = ""
        yield body


def _alternating(bodies: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Join user messages that follow one another; put a word between a result and one of them."""
    last: dict[str, Any] | None = None
    for body in bodies:
        if last is not None and body["role"] == "user":
            if last["role"] == "user":
                last = {**last, "content": f"{last['content']}\n\n{body['content']}"}
                continue
            if last["role"] == "tool":
                yield last
                last = {"role": "assistant", "content": BRIDGE}
        if last is not None:
            yield last
        last = body
    if last is not None:
        yield last
