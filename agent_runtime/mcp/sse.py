"""Server-sent events of tool servers (WHATWG HTML, event stream), read with the same lenience.

Any of the three line ends, a byte order mark, an event that the end of the stream closes, and a
message under another event's name: the standard has the first three, servers send the fourth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agent_runtime.mcp.errors import ResponseRejected, ToolServerFailure
from agent_runtime.mcp.jsonrpc import read

EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event, its fields as bytes."""

    name: bytes = b""
    data: bytes = b""
    id: bytes = b""
    retry: bytes = b""

    def json(self) -> Any:
        """Return the JSON of its data, None for other data.

        Raises ResponseRejected when it is too heavy.
        """
        try:
            return read(self.data)
        except ResponseRejected as refusal:
            if refusal.fault is ToolServerFailure.TOO_LARGE:
                raise
            return None

    def with_data(self, data: bytes) -> bytes:
        """Return the event as a message with other data, as the SDK reads it."""
        lines = [b"event: message"] + ([b"id: " + self.id] if self.id else [])
        lines += [b"retry: " + self.retry] if self.retry else []
        return b"\n".join([*lines, b"data: " + data, b"", b""])


def parse_event(block: bytes) -> Event:
    """Return the event that a block of lines makes."""
    data: list[bytes] = []
    fields = {b"event": b"", b"id": b"", b"retry": b""}
    for line in _LINE_END.split(block.removeprefix(_BYTE_ORDER_MARK)):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name in fields:
            fields[name] = value
    return Event(
        name=fields[b"event"], data=b"\n".join(data), id=fields[b"id"], retry=fields[b"retry"]
    )


def events_of(body: bytes) -> Iterator[Event]:
    """Yield the events of a whole body that have data."""
    start = 0
    for end in [*(found.end() for found in EVENT_END.finditer(body)), len(body)]:
        event = parse_event(body[start:end])
        start = end
        if event.data:
            yield event
