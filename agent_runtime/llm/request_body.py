"""The body of a request to the model, out of ready bytes that are joined as they are sent."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from agent_runtime.adaptation import NOTHING, SHORTEST_DESCRIPTION, Adaptation
from agent_runtime.llm.adapt import adapted_messages
from agent_runtime.llm.tool_schemas import WireSchema, wire_schema
from agent_runtime.messages import Tool, encode, user_message
from agent_runtime.ports import ModelRequest

CACHED_TOOL_SETS = 4_096  # more than the runs of one process
DISTINCT_TOOL_SETS = 64
CHUNK = 64_000  # bytes, or what the first part beyond it makes of them, that are sent at once

_STREAM = b',"stream":true'
_NO_STREAM = b',"stream":false'
_USAGE = b',"stream_options":{"include_usage":true}'
_CACHED = b',"cache_control":{"type":"ephemeral"}'


class RequestBody(httpx.AsyncByteStream):
    """A body in parts, most of them the transcript's own; it can be sent any number of times.

    While a thousand models think, nobody holds a thousand transcripts for the second time.
    """

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Join the parts, piece by piece."""
        piece: list[bytes] = []
        size = 0
        for part in self._parts:
            piece.append(part)
            size += len(part)
            if size >= CHUNK:
                yield b"".join(piece)
                piece, size = [], 0
        if piece:
            yield b"".join(piece)


@dataclass(frozen=True, slots=True)
class ToolSet:
    """Tools on the wire; `renamed` leads, by tool, from keys of arguments to the tool's own."""

    wire: bytes
    renamed: Mapping[str, Mapping[str, str]]


class RequestBodies:
    """Builds request bodies; remembers the encoded form of the tool sets of running tasks."""

    def __init__(self, *, marks_cache: bool) -> None:
        self._marks_cache = marks_cache
        # The tools are kept beside their bytes, so that an id is not given to another one.
        self._known: OrderedDict[tuple[object, ...], tuple[tuple[Tool, ...], ToolSet]]
        self._known = OrderedDict()
        self._distinct: dict[bytes, bytes] = {}

    def build(
        self,
        request: ModelRequest,
        adaptation: Adaptation = NOTHING,
        notes: Sequence[str] = (),
    ) -> RequestBody:
        """Return the body; the transcript's bytes are never encoded again.

        `adaptation` says what the provider does not take; `notes` follow the messages.
        """
        parts = [b'{"model":', encode(request.model), b',"messages":[']
        messages = request.messages
        if notes:
            messages = [*messages, *map(user_message, notes)]
        if adaptation:
            wires = adapted_messages(messages, adaptation)
        else:
            wires = [message.wire for message in messages]
        for index, wire in enumerate(wires):
            parts += (b",", wire) if index else (wire,)
        parts.append(b"]")
        tools = self.tools(request, adaptation).wire if request.tools else b""
        if tools:
            parts += (b',"tools":', tools)
            if request.tools_disabled and "tool_choice" not in adaptation.parameters:
                parts.append(b',"tool_choice":"none"')
        parts += self._tail(request, adaptation.parameters)
        return RequestBody(parts)

    def _tail(self, request: ModelRequest, without: frozenset[str]) -> list[bytes]:
        cached = self._marks_cache and request.model.startswith("anthropic/")
        parts = [_CACHED] if cached and "cache_control" not in without else []
        streams = "stream" not in without
        parts.append(_STREAM if streams else _NO_STREAM)
        if streams and "stream_options" not in without:
            parts.append(_USAGE)
        return [*parts, b"}"]

    def tools(self, request: ModelRequest, adaptation: Adaptation = NOTHING) -> ToolSet:
        """Return the tools of a request as they are sent; empty where all are left out."""
        key = (
            *map(id, request.tools),
            adaptation.tools,
            adaptation.keywords,
            adaptation.longest_description,
        )
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key][1]
        sent = [tool for tool in request.tools if tool.name not in adaptation.tools]
        schemas = [wire_schema(tool.schema, without=adaptation.keywords) for tool in sent]
        wires = [
            _wire_tool(tool, schema, adaptation.longest_description)
            for tool, schema in zip(sent, schemas, strict=True)
        ]
        encoded = encode(wires) if wires else b""
        # A thousand runs of one project have equal tools: they share one copy.
        encoded = self._distinct.setdefault(encoded, encoded)
        if len(self._distinct) > DISTINCT_TOOL_SETS:
            self._distinct.clear()
        pairs = zip(sent, schemas, strict=True)
        renamed = {tool.name: schema.renamed for tool, schema in pairs if schema.renamed}
        made = ToolSet(encoded, renamed)
        self._known[key] = (tuple(request.tools), made)
        if len(self._known) > CACHED_TOOL_SETS:
            self._known.popitem(last=False)
        return made


def _wire_tool(tool: Tool, schema: WireSchema, longest: int | None) -> dict[str, Any]:
    description = tool.description.strip() or tool.name  # some refuse an empty one
    own = ", ".join(f"{made} is {own}" for made, own in schema.renamed.items())
    more = f"\n\nNames of parameters: {own}." if own else ""
    if longest is not None and len(description) + len(more) > longest:
        kept = max(longest - len(more), SHORTEST_DESCRIPTION) - 1
        description = f"{description[:kept]}…"
    function = {"name": tool.name, "description": description + more, "parameters": schema.schema}
    return {"type": "function", "function": function}
