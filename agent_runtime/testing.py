"""The two ports with a script behind them, for tests of everything above them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from agent_runtime.messages import Call, ModelAnswer, Tool, ToolRequest, ToolResult, Usage
from agent_runtime.ports import ModelRequest, ServerState


def text_response(text: str, *, finish_reason: str = "stop") -> ModelAnswer:
    """Return an answer in words."""
    return ModelAnswer(
        message={"role": "assistant", "content": text},
        text=text,
        finish_reason=finish_reason,
        usage=Usage(input_tokens=10, output_tokens=5),
        model="scripted",
    )


def tool_call_response(*calls: tuple[str, Mapping[str, Any] | str]) -> ModelAnswer:
    """Return an answer that asks for tool calls, each a name and its arguments."""
    requests = tuple(
        ToolRequest(
            call_id=f"call_{index}",
            name=name,
            arguments=arguments if isinstance(arguments, str) else json.dumps(arguments),
        )
        for index, (name, arguments) in enumerate(calls)
    )
    return ModelAnswer(
        message={
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": each.call_id,
                    "type": "function",
                    "function": {"name": each.name, "arguments": each.arguments},
                }
                for each in requests
            ],
        },
        requests=requests,
        finish_reason="tool_calls",
        usage=Usage(input_tokens=10, output_tokens=5),
        model="scripted",
    )


Script = Sequence[ModelAnswer | Exception]


class ScriptedModel:
    """Answers from a list, one entry a request, and keeps the requests.

    An exception in the list is raised. `gate`, when given, is awaited before each answer.
    """

    def __init__(self, script: Script, *, gate: Callable[[], Awaitable[None]] | None = None):
        self._answers = iter(script)
        self._gate = gate
        self.requests: list[ModelRequest] = []

    async def complete(self, request: ModelRequest) -> ModelAnswer:
        """Return the next answer of the script."""
        self.requests.append(request)
        if self._gate:
            await self._gate()
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


Behaviour = Callable[[Mapping[str, Any]], str | ToolResult | Awaitable[str | ToolResult]]


class FakeTools:
    """Tools that are functions; every call that was sent is kept in `sent`, with its key."""

    def __init__(
        self,
        behaviours: Mapping[str, Behaviour] | None = None,
        *,
        repeatable: Sequence[str] = (),
        servers: Sequence[ServerState] = (),
    ) -> None:
        self._behaviours = dict(behaviours or {})
        self.servers = servers
        self.offered: Sequence[Tool] = tuple(
            Tool(
                name=f"fake__{name}",
                description=name,
                schema={"type": "object"},
                server="fake",
                tool=name,
                repeatable=name in repeatable,
            )
            for name in self._behaviours
        )
        self.sent: list[tuple[str, str, Mapping[str, Any]]] = []

    async def open(self) -> None:
        """Nothing to open."""

    def check(self, tool: Tool, arguments: Mapping[str, Any]) -> str | None:
        """Return what is missing of what the schema requires."""
        missing = [name for name in tool.schema.get("required", ()) if name not in arguments]
        return f"{missing[0]} is missing." if missing else None

    async def call(self, call: Call) -> ToolResult:
        """Run the function that stands for the tool."""
        assert call.tool is not None
        self.sent.append((call.tool.tool, call.key, call.arguments or {}))
        outcome = self._behaviours[call.tool.tool](call.arguments or {})
        if asyncio.iscoroutine(outcome) or isinstance(outcome, asyncio.Future):
            outcome = await outcome
        assert isinstance(outcome, str | ToolResult)
        return outcome if isinstance(outcome, ToolResult) else ToolResult(text=outcome)

    async def close(self) -> None:
        """Nothing to close."""
