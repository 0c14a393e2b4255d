"""A streamed answer, put together as if it had been received whole.

Unknown keys survive: reasoning models want `reasoning_details` and signatures back, byte for
byte, in the next request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_ANSWER_BYTES = 16_000_000  # of one event, and of what an answer comes to
MAX_LIST_ITEMS = 1_000  # parallel tool calls, pieces of reasoning
ENTRY_SIZE = 64  # what a key or an item counts besides its text

# Strings that arrive whole each time. All others arrive in pieces.
WHOLE = frozenset(("id", "type", "role", "name", "format", "signature", "data", "finish_reason"))


class TooLong(ValueError):
    """The answer is larger than any that a model writes."""


class EventReader:
    """Cuts the bytes of a server-sent event stream into the payloads of its events.

    After the HTML standard's "Server-sent events", with two freedoms: an event at the very
    end counts without its blank line, and a field `error` is a payload too (llama.cpp).
    Comments and other fields are passed over.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, received: bytes) -> list[bytes]:
        """Return the payloads that are complete now. Raises TooLong."""
        head, newline, tail = received.rpartition(b"\n")
        if not newline:
            self._rest += tail
            self._check(len(self._rest))
            return []
        self._rest += head
        lines = bytes(self._rest).split(b"\n")
        self._rest = bytearray(tail)
        return [payload for line in lines if (payload := self._take(line.rstrip(b"\r")))]

    def end(self) -> list[bytes]:
        """Return the payload that the stream's end completed, if any."""
        found = (self._take(bytes(self._rest).rstrip(b"\r")), self._take(b""))
        return [payload for payload in found if payload]

    def _take(self, line: bytes) -> bytes:
        if not line:
            payload, self._data, self._size = b"\n".join(self._data), [], 0
            return payload
        field, _, value = line.partition(b":")
        if field in (b"data", b"error"):
            self._data.append(value.removeprefix(b" "))
            self._size += len(value)
            self._check(self._size)
        return b""

    def _check(self, size: int) -> None:
        if size > MAX_ANSWER_BYTES:
            raise TooLong("event")


class _Pieces:
    """A string that is still arriving; joined once, at the end."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: list[str] = []


class StreamedCompletion:
    """Merges the chunks of one streamed completion.

    Strings are concatenated, but for those in WHOLE, which are replaced; objects are merged;
    items of lists meet by their `index`. Only the first choice is kept.
    """

    def __init__(self) -> None:
        self._top: dict[str, Any] = {}
        self._choice: dict[str, Any] = {}
        self._message: dict[str, Any] = {}
        self._size = 0

    @property
    def finished(self) -> bool:
        """True once the provider has said why the answer ends."""
        return bool(self._choice.get("finish_reason"))

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Take one chunk. Raises TooLong when the answer outgrows MAX_ANSWER_BYTES."""
        self._top.update(
            (key, value)
            for key, value in chunk.items()
            if key in ("id", "model", "usage", "error") and value is not None
        )
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and choice.get("index", 0) in (0, None):
                self._add_choice(choice)

    def _add_choice(self, choice: Mapping[str, Any]) -> None:
        self._choice.update(
            (key, value)
            for key, value in choice.items()
            if key in ("finish_reason", "error") and value
        )
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._merge(self._message, delta)

    def whole(self) -> dict[str, Any]:
        """Return the completion in the shape of one that was not streamed."""
        message = _joined(self._message)
        for call in message.get("tool_calls") or ():
            if isinstance(call, dict):
                call.pop("index", None)  # a stream's own; strict servers refuse it in a request
        choices = [{**self._choice, "message": message}] if message or self._choice else []
        return {**self._top, "choices": choices}

    def _merge(self, kept: dict[str, Any], delta: Mapping[str, Any]) -> None:
        for key, value in delta.items():
            present = kept.get(key)
            if key not in kept:
                self._grow(len(key) + ENTRY_SIZE)
            if value is None:
                kept.setdefault(key, None)
            elif isinstance(value, str):
                kept[key] = self._text(key, present, value)
            elif isinstance(value, dict):
                kept[key] = present if isinstance(present, dict) else {}
                self._merge(kept[key], value)
            elif isinstance(value, list):
                kept[key] = present if isinstance(present, list) else []
                self._merge_list(kept[key], value, are_calls=key == "tool_calls")
            else:
                kept[key] = value

    def _text(self, key: str, present: Any, value: str) -> Any:
        self._grow(len(value))
        if key in WHOLE:
            return value or present or value
        pieces = present if isinstance(present, _Pieces) else _Pieces()
        pieces.parts.append(value)
        return pieces

    def _merge_list(self, kept: list[Any], items: list[Any], *, are_calls: bool) -> None:
        for item in items:
            if not isinstance(item, dict):
                self._append(kept, item)
                continue
            target = _call_of(kept, item) if are_calls else _item_of(kept, item)
            if target is None:
                target = {}
                self._append(kept, target)
            self._merge(target, item)

    def _append(self, kept: list[Any], item: Any) -> None:
        if len(kept) >= MAX_LIST_ITEMS:
            raise TooLong("list")
        self._grow(ENTRY_SIZE + (len(item) if isinstance(item, str) else 0))
        kept.append(item)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_ANSWER_BYTES:
            raise TooLong("answer")


def _item_of(kept: list[Any], item: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the item that this one continues: same `index`, and nothing that tells them apart.

    One block of reasoning arrives in many pieces under one index; but some providers give
    blocks of another type, or several sealed ones (`data`), the same index.
    """
    if item.get("index") is None:
        return None
    for each in reversed(kept):
        if (
            isinstance(each, dict)
            and each.get("index") == item["index"]
            and all(_agree(each.get(key), item.get(key)) for key in ("type", "id"))
            and not (each.get("data") and item.get("data"))
        ):
            return each
    return None


def _call_of(kept: list[Any], item: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the tool call that this delta continues.

    By `index`; a server that leaves it out, or gives all parallel calls the same one, names
    the tool and a new id where a new call begins.
    """
    function = item.get("function")
    named = isinstance(function, dict) and bool(function.get("name"))
    for each in reversed(kept):
        if not isinstance(each, dict) or not _agree(each.get("index"), item.get("index")):
            continue
        if named and not _agree(each.get("id"), item.get("id")):
            continue
        if named and item.get("index") is None and not item.get("id"):
            continue
        return each
    return None


def _agree(one: Any, other: Any) -> bool:
    return one == other or one in (None, "") or other in (None, "")


def _joined(value: Any) -> Any:
    if isinstance(value, _Pieces):
        return "".join(value.parts)
    if isinstance(value, dict):
        return {key: _joined(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_joined(each) for each in value]
    return value
