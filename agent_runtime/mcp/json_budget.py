"""Weigh JSON before it is parsed into objects.

Small in bytes can be large in memory: a list of a million empty objects is 3 MB of text and
200 MB of objects. Where only a part that is never looked into is too heavy, the rest is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec

MAX_VALUES = 60_000  # in one message, or in one tool of a list
MAX_TYPED_VALUES = 20_000  # of those, outside what the protocol leaves to the server
MAX_LISTED_VALUES = 250_000  # in one page of tools
CHEAP = 2_000  # not worth a closer look
_PIECE = 100_000  # bytes that are looked at in one go

# Where the protocol takes any JSON, so that nothing is looked at item by item.
FREE_FORM = frozenset({"structuredContent", "inputSchema", "outputSchema", "_meta"})


class TooHeavy(Exception):
    """The message's objects would take too much memory."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A JSON value that was too heavy to be parsed, as its text."""

    text: bytes


class _Message(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw(b"null")


class _Result(msgspec.Struct):
    structuredContent: msgspec.Raw = msgspec.Raw(b"null")  # noqa: N815  (the wire's name)
    tools: msgspec.Raw = msgspec.Raw(b"null")


_MESSAGE = msgspec.json.Decoder(_Message)
_RESULT = msgspec.json.Decoder(_Result)
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


def load(message: bytes) -> Any:
    """Return the JSON value of a message.

    A byte order mark is skipped and broken UTF-8 replaced. Structured content, and single tools
    of a list, that are too heavy are `Unread`. Raises TooHeavy, or ValueError for what is no JSON.
    """
    return _load(message) if not exceeds_json_budget(message) else _load_lighter(message)


def exceeds_json_budget(message: bytes) -> bool:
    """Return True for a message whose objects would take too much memory."""
    if message.count(b",") + _opened(message) <= CHEAP:
        return False
    values = _values(message)
    return values > MAX_VALUES or (values > CHEAP and _typed_values(message) > MAX_TYPED_VALUES)


def _load(message: bytes) -> Any:
    try:
        return json.loads(message.decode("utf-8-sig", "replace"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _load_lighter(message: bytes) -> Any:
    """Read a message without its structured content, or each of its tools by itself."""
    try:
        result = _RESULT.decode(_MESSAGE.decode(message.removeprefix(b"\xef\xbb\xbf")).result)
        structured, listed = bytes(result.structuredContent), bytes(result.tools)
        lighter = _without(_without(message, structured), listed)
        if lighter is message or exceeds_json_budget(lighter):
            raise TooHeavy
        found = _load(lighter)
        if structured != b"null":
            found["result"]["structuredContent"] = Unread(structured)
        if listed != b"null":
            found["result"]["tools"] = _tools(listed)
    except (msgspec.MsgspecError, RecursionError):
        raise TooHeavy from None
    return found


def _without(message: bytes, part: bytes) -> bytes:
    return message if part == b"null" else message.replace(part, b"null", 1)


def _tools(listed: bytes) -> list[Any]:
    if _values(listed) > MAX_LISTED_VALUES:
        raise TooHeavy
    return [_item(bytes(each)) for each in _ITEMS.decode(listed)]


def _item(text: bytes) -> Any:
    return Unread(text) if exceeds_json_budget(text) else _load(text)


def _values(message: bytes) -> int:
    """Return about how many values there are: the commas and brackets outside of strings."""
    plain = message.replace(b"\\\\", b"").replace(b'\\"', b"")
    count, inside = 0, 0  # `inside` is 1 where a piece begins within a string
    for start in range(0, len(plain), _PIECE):
        parts = plain[start : start + _PIECE].split(b'"')
        outside = b"".join(parts[inside::2])
        count += outside.count(b",") + _opened(outside)
        inside = (inside + len(parts) - 1) % 2
    return count


def _opened(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _typed_values(message: bytes) -> int:
    try:
        waiting: list[Any] = [_load(message)]
    except ValueError:
        return 0  # refused when it is read
    count = 0
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            count += len(node)
            waiting.extend(value for key, value in node.items() if key not in FREE_FORM)
        elif isinstance(node, list):
            count += len(node)
            waiting.extend(each for each in node if isinstance(each, dict | list))
    return count
