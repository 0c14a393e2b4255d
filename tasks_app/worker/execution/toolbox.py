"""The tools of one run: those of its servers, and the runtime's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from agent_runtime.builtin_tools import (
    LOAD_SKILL,
    READ_RESULT,
    load_skill,
    read_result,
    read_skill_file,
    submit_report,
)
from agent_runtime.mcp.argument_schema import Checker, compile_schema
from agent_runtime.messages import Call, CallState, Tool, ToolResult, encode
from agent_runtime.ports import ServerState, Tools
from skills_app.operations import SkillText

ReadSkill = Callable[[str, str | None], Awaitable[SkillText | None]]
ReadResult = Callable[[Mapping[str, Any]], Awaitable[ToolResult]]

OF_ITS_FRAME = 70  # bytes that a tool takes in a request beside name, description and schema

# The port to the servers checks the arguments of their tools, and knows nothing of ours.
_CHECKERS: Mapping[str, Checker] = {
    tool.name: compile_schema(tool.schema)
    for tool in (submit_report, load_skill, read_skill_file, read_result)
}


class Toolbox:
    """`ports.Tools` for one run: its servers' tools plus the built-ins.

    `read_skill(id, path)` returns a skill's body (path None) or a file of it, None where there
    is none. `read_result(arguments)` answers the tool of that name. `is_paused(server)` is asked
    before each call.
    """

    def __init__(
        self,
        *,
        servers: Tools,
        read_skill: ReadSkill,
        read_result: ReadResult,
        has_skills: bool,
        is_paused: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._servers = servers
        self._is_paused = is_paused
        self._read_skill = read_skill
        self._read_result = read_result
        self._builtins = (load_skill, read_skill_file) if has_skills else ()
        self._offered: Sequence[Tool] = ()

    async def open(self) -> None:
        """Connect the servers and list what there is."""
        await self._servers.open()
        self._offered = (submit_report, *self._builtins, *self._servers.offered, read_result)

    @property
    def offered(self) -> Sequence[Tool]:
        """Everything that the agent may call, in a stable order."""
        return self._offered

    @property
    def size(self) -> int:
        """About how many bytes the tools add to a request."""
        return sum(
            len(encode([each.name, each.description, each.schema])) + OF_ITS_FRAME
            for each in self._offered
        )

    @property
    def servers(self) -> Sequence[ServerState]:
        """Each server and its state for this user."""
        return self._servers.servers

    def check(self, tool: Tool, arguments: Mapping[str, Any]) -> str | None:
        """Return what is wrong with the arguments, or None."""
        if not tool.server:
            return _CHECKERS[tool.name].check(arguments)
        return self._servers.check(tool, arguments)

    async def call(self, call: Call) -> ToolResult:
        """Answer a built-in, or send the call to its server."""
        assert call.tool is not None
        if call.tool.server:
            if self._is_paused(call.tool.server):
                sentence = f"The server {call.tool.server} is paused: nothing is sent to it now."
                return ToolResult(text=sentence, state=CallState.FAILED)
            return await self._servers.call(call)
        arguments = call.arguments or {}
        if call.request.name == READ_RESULT:
            return await self._read_result(arguments)
        path = None if call.request.name == LOAD_SKILL else str(arguments.get("path"))
        found = await self._read_skill(str(arguments.get("id")), path)
        if found is None:
            what = "skill with this id" if path is None else "such file in this skill"
            return ToolResult(text=f"There is no {what}.", state=CallState.FAILED)
        state = CallState.SUCCEEDED if found.readable else CallState.FAILED
        return ToolResult(text=found.text, state=state)

    async def close(self) -> None:
        """End all sessions."""
        await self._servers.close()
