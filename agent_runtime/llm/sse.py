"""A streamed answer, put together as if it had been received whole.

Unknown keys survive: reasoning models want `reasoning_details` and signatures back, byte for
byte, in the next request.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from typing import Any

MAX_ANSWER_BYTES = 16_000_000  # of one event, and of what an answer comes to
MAX_LIST_ITEMS = 1_000  # parallel tool calls, pieces of reasoning
ENTRY_SIZE = 64  # what a key or an item counts besides its text

ERROR_EVENTS = frozenset((b"error", b"exception"))
PART_LISTS = frozenset(("content", "thinking"))  # a text, or a list of parts that are joined
PART_KEYS = frozenset(("type", "text", "thinking", "index"))

# Strings that arrive whole each time. All others arrive in pieces.
WHOLE = frozenset(("id", "type", "role", "name", "format", "signature", "data", "finish_reason"))


class TooLong(ValueError):
    """The answer is larger than any that a model writes."""


class EventReader:
    """Cuts the bytes of a server-sent event stream into the payloads of its events.

    After the HTML standard's "Server-sent events": a byte order mark at the very beginning is
    passed over, and lines end in LF, CR LF or CR. With freedoms that servers take: an event at the
    very end counts without its blank line, a field `error` is a payload too (llama.cpp), and so is
    a line that is bare JSON (Ollama). The payload of an event named `error` comes as an object
    with the key `error`. Comments and other fields are passed over.
    """

    def __init__(self) -> None:
        self._head: bytes | None = b""  # what may be the beginning of a byte order mark
        self._after_return = False
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._name = b""
        self._size = 0

    def feed(self, received: bytes) -> list[bytes]:
        """Return the payloads that are complete now. Raises TooLong."""
        if self._head is not None:
            received = self._unmarked(received)
        if self._after_return or b"\r" in received:
            received = self._with_plain_ends(received)
        head, newline, tail = received.rpartition(b"\n")
        if not newline:
            self._rest += tail
            self._check(len(self._rest))
            return []
        self._rest += head
        lines = bytes(self._rest).split(b"\n")
        self._rest = bytearray(tail)
        return [payload for line in lines if (payload := self._take(line))]

    def end(self) -> list[bytes]:
        """Return the payload that the stream's end completed, if any."""
        found = (self._take(bytes(self._rest)), self._take(b""))
        return [payload for payload in found if payload]

    def _unmarked(self, received: bytes) -> bytes:
        assert self._head is not None
        received = self._head + received
        if len(received) < len(codecs.BOM_UTF8) and codecs.BOM_UTF8.startswith(received):
            self._head = received
            return b""
        self._head = None
        return received.removeprefix(codecs.BOM_UTF8)

    def _with_plain_ends(self, received: bytes) -> bytes:
        if self._after_return and received:
            received = received.removeprefix(b"\n")  # which belonged to the return before it
        self._after_return = received.endswith(b"\r")
        return received.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _take(self, line: bytes) -> bytes:
        if not line:
            return self._dispatched()
        field, _, value = line.partition(b":")
        if line[:1] == b"{":
            field, value = b"data", line
        if field in (b"data", b"error"):
            self._data.append(value.removeprefix(b" "))
            self._size += len(value)
            self._check(self._size)
        elif field == b"event":
            self._name = value.strip().lower()
        return b""

    def _dispatched(self) -> bytes:
        payload, name = b"\n".join(self._data), self._name
        self._data, self._name, self._size = [], b"", 0
        return _error_payload(payload) if name in ERROR_EVENTS else payload

    def _check(self, size: int) -> None:
        if size > MAX_ANSWER_BYTES:
            raise TooLong("event")


def _error_payload(payload: bytes) -> bytes:
    """Return what an error event says as an object with the key `error`."""
    text = payload.decode("utf-8", "replace").strip()
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = text
    if isinstance(said, dict) and said.get("error"):
        return payload
    return json.dumps({"error": said or "an error without words"}).encode()


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

    def fail(self, error: Any) -> None:
        """Note that the stream reported an error instead of its end."""
        self._top["error"] = error

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
            if key in ("finish_reason", "native_finish_reason", "error")
            and value not in (None, "", "null")
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
            elif key in PART_LISTS and isinstance(value, str | list | dict):
                kept[key] = self._content(key, present, value)
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

    def _content(self, key: str, present: Any, value: str | list[Any] | dict[str, Any]) -> Any:
        """Join content that may come as a text now and as parts later."""
        if isinstance(value, str) and not isinstance(present, list):
            return self._text(key, present, value)
        parts: list[Any] = present if isinstance(present, list) else []
        if isinstance(present, _Pieces) and any(present.parts):
            parts.append({"type": "text", "text": present})
        for part in value if isinstance(value, list) else [value]:
            if part:
                self._add_part(parts, {"type": "text", "text": part} if part is value else part)
        return parts

    def _add_part(self, parts: list[Any], part: Any) -> None:
        """Append a part, or join it to the last one if that is its beginning."""
        if not isinstance(part, dict):
            self._append(parts, part)
            return
        last = parts[-1] if parts else None
        target = last if _continues(last, part) else _item_of(parts, part)
        if target is None:
            target = {}
            self._append(parts, target)
        self._merge(target, part)

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


def _continues(last: Any, part: Mapping[str, Any]) -> bool:
    return (
        isinstance(last, dict)
        and PART_KEYS.issuperset(last)
        and PART_KEYS.issuperset(part)
        and last.get("type") == part.get("type")
        and last.get("index") == part.get("index")
    )


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
