"""What becomes of the tool calls that a response asks for: run, or answered at once.

Mistakes of the model go back to it as the call's result, with what it needs to do better;
they are neither retries nor failures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from agent_runtime.arguments import parse_arguments
from agent_runtime.builtin_tools import LOAD_SKILL, SUBMIT_REPORT
from agent_runtime.context.words import already_done
from agent_runtime.finish import Finish
from agent_runtime.limits import MAX_PARALLEL_CALLS
from agent_runtime.messages import Call, CallState, ModelAnswer, Tool, ToolRequest, ToolResult
from agent_runtime.prompt import CUT_CALL, skill_instruction
from agent_runtime.transcript import Transcript


class Toolbox(Protocol):
    """What planning needs to know of the tools; `ports.Tools` is one."""

    @property
    def offered(self) -> Sequence[Tool]:
        """The tools that the agent may call."""

    def check(self, tool: Tool, arguments: Mapping[str, Any]) -> str | None:
        """Return what is wrong with the arguments, or None."""


def plan_calls(
    answer: ModelAnswer,
    *,
    transcript: Transcript,
    toolbox: Toolbox,
    closing: bool,
    keys: Sequence[str],
) -> list[Call]:
    """Return one call for each request of the answer, with `keys` as their identities.

    1. Whatever cannot run has its result at once: see `_rejection_reason`. Of an answer that did
       not end in good order nothing runs, not even what looks complete: it may be the beginning of
       something longer.
    2. A lone, well-formed submit_report is accepted.
    3. Calls beyond the run's limit are CANCELLED, which ends the run (see `loop`).
    4. The first few of the rest are STARTED, to be sent right after the commit; the others
       are PLANNED.
    """
    tools = {tool.name: tool for tool in toolbox.offered}
    calls = []
    budget = _budget(transcript)
    for index, (request, key) in enumerate(zip(answer.requests, keys, strict=True)):
        tool = tools.get(request.name)
        arguments = parse_arguments(request.arguments)
        problem = (
            "No tool runs any more: answer in words."
            if closing
            else _rejection_reason(request, answer, transcript, tool, arguments, toolbox)
        )
        call = Call(
            key=key,
            index=index,
            request=request,
            arguments=arguments,
            tool=tool,
            state=CallState.PLANNED,
        )
        if problem:
            _refuse(call, CallState.FAILED, problem)
        elif request.name == SUBMIT_REPORT:
            call.end(ToolResult(text="The report was accepted."))
        elif (earlier := transcript.context.effect_out_of_sight(call)) is not None:
            _refuse(call, CallState.FAILED, already_done(earlier))
        elif tool is not None and tool.server:
            budget -= 1
            if budget < 0:
                _refuse(call, CallState.CANCELLED, "Not run: the limit on tool calls is reached.")
        calls.append(call)
    for call in [call for call in calls if not call.state.ended][:MAX_PARALLEL_CALLS]:
        call.state = CallState.STARTED
    return calls


def _budget(transcript: Transcript) -> int:
    most = transcript.limits.max_tool_calls
    return 10**9 if most is None else most - transcript.tool_calls


def _refuse(call: Call, state: CallState, text: str) -> None:
    call.refused = True
    call.end(ToolResult(text=text, state=state))


def _is_cut(request: ToolRequest, answer: ModelAnswer, arguments: object) -> bool:
    """Say whether the call may be a part of the one that the model meant.

    After an unknown reason for the end complete arguments are believed.
    """
    if answer.finish is Finish.UNKNOWN:
        return arguments is None or not request.arguments.strip()
    return answer.finish is not Finish.ENDED


def _rejection_reason(
    request: ToolRequest,
    answer: ModelAnswer,
    transcript: Transcript,
    tool: Tool | None,
    arguments: Mapping[str, Any] | None,
    toolbox: Toolbox,
) -> str:
    """Return why the call does not run, in words for the model, or nothing."""
    if transcript.must_load_skill and not _loads_it(request, arguments, transcript):
        assert transcript.skill is not None
        return f"Not run. {skill_instruction(transcript.skill)}"
    if _is_cut(request, answer, arguments):
        return CUT_CALL
    if tool is None:
        names = ", ".join(sorted(each.name for each in toolbox.offered))
        return f"There is no tool named {request.name[:100]!r}. The tools are: {names[:4000]}."
    if arguments is None:
        return f"The arguments are not a JSON object. The schema is: {_schema(tool)}"
    problem = toolbox.check(tool, arguments)
    if problem:
        return f"The arguments do not fit: {problem} The schema is: {_schema(tool)}"
    if request.name == SUBMIT_REPORT and len(answer.requests) > 1:
        return "Not accepted beside other calls. Read their results, then call it again, alone."
    return ""


def _loads_it(
    request: ToolRequest, arguments: Mapping[str, Any] | None, transcript: Transcript
) -> bool:
    assert transcript.skill is not None
    return request.name == LOAD_SKILL and (arguments or {}).get("id") == transcript.skill.id


def _schema(tool: Tool) -> str:
    return json.dumps(tool.schema, separators=(",", ":"))[:8000]
