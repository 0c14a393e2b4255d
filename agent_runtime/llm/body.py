"""The body of a request to the model, out of ready bytes that are joined as they are sent."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence

import httpx

from agent_runtime.messages import Tool, encode
from agent_runtime.ports import ModelRequest

REMEMBERED_TOOL_SETS = 4_096  # more than the runs of one process
DISTINCT_TOOL_SETS = 64
PIECE = 64_000  # bytes, or what the first part beyond it makes of them, that are sent at once

_TAIL = b',"stream":true,"stream_options":{"include_usage":true}}'
# OpenRouter moves the mark to the end of the transcript by itself. Other makers cache unasked.
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
            if size >= PIECE:
                yield b"".join(piece)
                piece, size = [], 0
        if piece:
            yield b"".join(piece)


class RequestBodies:
    """Builds request bodies; remembers the encoded form of the tool sets of running tasks.

    `marks_cache` says that the server understands OpenRouter's top-level `cache_control`,
    which models of Anthropic need for their prompt cache.
    """

    def __init__(self, *, marks_cache: bool) -> None:
        self._marks_cache = marks_cache
        # The tools are kept beside their bytes, so that an id is not given to another one.
        self._known: OrderedDict[tuple[int, ...], tuple[tuple[Tool, ...], bytes]] = OrderedDict()
        self._distinct: dict[bytes, bytes] = {}

    def build(self, request: ModelRequest) -> RequestBody:
        """Return the body; the transcript's bytes are never encoded again."""
        parts = [b'{"model":', encode(request.model), b',"messages":[']
        for index, message in enumerate(request.messages):
            parts += (b",", message.wire) if index else (message.wire,)
        parts.append(b"]")
        if request.tools:
            parts += (b',"tools":', self._tools(request.tools))
            if request.words_only:
                parts.append(b',"tool_choice":"none"')
        if self._marks_cache and request.model.startswith("anthropic/"):
            parts.append(_CACHED)
        parts.append(_TAIL)
        return RequestBody(parts)

    def _tools(self, tools: Sequence[Tool]) -> bytes:
        key = tuple(map(id, tools))
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key][1]
        encoded = encode([_wire_tool(tool) for tool in tools])
        # A thousand runs of one project have equal tools: they share one copy.
        encoded = self._distinct.setdefault(encoded, encoded)
        if len(self._distinct) > DISTINCT_TOOL_SETS:
            self._distinct.clear()
        self._known[key] = (tuple(tools), encoded)
        if len(self._known) > REMEMBERED_TOOL_SETS:
            self._known.popitem(last=False)
        return encoded


def _wire_tool(tool: Tool) -> dict[str, object]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.schema),
    }
    return {"type": "function", "function": function}
