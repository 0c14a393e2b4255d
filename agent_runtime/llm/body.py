"""The body of a request to the model, joined from ready bytes."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence

from agent_runtime.messages import Tool
from agent_runtime.ports import ModelRequest

REMEMBERED_TOOL_SETS = 4_096  # more than the runs of one process
DISTINCT_TOOL_SETS = 64

_TAIL = b',"stream":true,"stream_options":{"include_usage":true}}'
# OpenRouter moves the mark to the end of the transcript by itself. Other makers cache unasked.
_CACHED = b',"cache_control":{"type":"ephemeral"}'


def _encode(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


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

    def build(self, request: ModelRequest) -> bytes:
        """Return the body; the transcript's bytes are joined, never encoded again."""
        parts = [
            b'{"model":',
            _encode(request.model),
            b',"messages":[',
            b",".join([message.wire for message in request.messages]),
            b"]",
        ]
        if request.tools:
            parts += (b',"tools":', self._tools(request.tools))
            if request.words_only:
                parts.append(b',"tool_choice":"none"')
        if self._marks_cache and request.model.startswith("anthropic/"):
            parts.append(_CACHED)
        parts.append(_TAIL)
        return b"".join(parts)

    def _tools(self, tools: Sequence[Tool]) -> bytes:
        key = tuple(map(id, tools))
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key][1]
        encoded = _encode([_wire_tool(tool) for tool in tools])
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
