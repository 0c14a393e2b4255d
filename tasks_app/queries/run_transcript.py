"""The rows of a task as the transcript that the loop reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from agent_runtime.adaptation import Adaptation
from agent_runtime.limits import Limits
from agent_runtime.messages import (
    Call,
    CallState,
    ModelAnswer,
    Tool,
    ToolRequest,
    ToolResult,
    Turn,
    Usage,
    refusal_of,
    system_message,
    text_of,
)
from agent_runtime.outcome import StopReason
from agent_runtime.planning import parse_arguments
from agent_runtime.prompt import task_message
from agent_runtime.transcript import RequiredSkill, Transcript
from tasks_app.models import AgentTask, Step, ToolCall

Kept = TypeVar("Kept", Limits, Usage)


def steps_of(task: AgentTask) -> list[Step]:
    """Return the steps of all runs in their order, with their tool calls."""
    return list(task.steps.order_by("run_number", "index").prefetch_related("tool_calls"))


def transcript_of(task: AgentTask, steps: Sequence[Step], *, system: str) -> Transcript:
    """Return the transcript as it stood after the last commit."""
    skill = task.required_skill
    required = RequiredSkill(id=skill["id"], name=skill["name"]) if skill else None
    transcript = Transcript(
        messages=[system_message(system), task_message(task.prompt, required)],
        limits=limits_of(task),
        started=(task.started_at or task.created_at).timestamp(),
        skill=required,
        opening_notes=task.opening_notes,
    )
    run_number = 1
    for step in steps:
        if step.run_number != run_number:
            transcript.new_run()
            run_number = step.run_number
        transcript.offered = step.request.get("tools", transcript.offered)
        transcript.add(turn_of(step))
    if task.run_number != run_number:
        transcript.new_run()
    return transcript


def limits_of(task: AgentTask) -> Limits:
    """Return the limits of the task's current run."""
    return _kept(Limits, task.limits)


def usage_of(stored: Mapping[str, Any]) -> Usage:
    """Return the usage that a step's row keeps."""
    return _kept(Usage, stored)


def _kept(kind: type[Kept], stored: Mapping[str, Any]) -> Kept:
    """Return what a row keeps; it may be older than the newest of the fields."""
    names = [each.name for each in dataclasses.fields(kind)]
    return kind(**{name: stored[name] for name in names if name in stored})


def turn_of(step: Step) -> Turn:
    """Return a step with its tool calls."""
    calls = sorted(step.tool_calls.all(), key=lambda call: call.index)
    ids = _call_ids(step)
    closing = step.request.get("closing")
    return Turn(
        index=step.index,
        notes=step.request["notes"],
        answer=ModelAnswer(
            message=step.response,
            text=text_of(step.response),
            refusal=refusal_of(step.response),
            requests=tuple(_request(call, ids) for call in calls),
            finish_reason=step.finish_reason,
            usage=usage_of(step.usage),
            adaptation=Adaptation.of_json(step.request.get("adaptation", {})),
        ),
        calls=[_call(call, ids) for call in calls],
        closing=StopReason(closing) if closing else None,
    )


def _call_ids(step: Step) -> Mapping[int, str]:
    """Return the ids of a step's calls as the model's message holds them.

    Their rows keep the beginning alone of a long one, such as a gateway makes of a signature.
    """
    return {index: each["id"] for index, each in enumerate(step.response.get("tool_calls") or ())}


def _request(row: ToolCall, ids: Mapping[int, str]) -> ToolRequest:
    call_id = ids.get(row.index, row.call_id)
    return ToolRequest(call_id=call_id, name=row.name, arguments=row.arguments)


def _call(row: ToolCall, ids: Mapping[int, str]) -> Call:
    tool = Tool(
        name=row.name,
        description="",
        schema={},
        server=row.server,
        tool=row.tool,
        repeatable=row.repeatable,
    )
    state = CallState(row.state)
    return Call(
        key=str(row.id),
        index=row.index,
        request=_request(row, ids),
        arguments=parse_arguments(row.arguments),
        tool=tool,
        state=state,
        result=None if row.result is None else ToolResult(text=row.result, state=state),
        refused=row.refused,
    )
