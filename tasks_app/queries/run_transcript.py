"""The rows of a task as the transcript that the loop reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from agent_runtime.adaptation import Adaptation
from agent_runtime.arguments import parse_arguments
from agent_runtime.context.context import Context
from agent_runtime.context.marks import Mark, Summary
from agent_runtime.context.places import Place
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
from agent_runtime.prompt import task_message
from agent_runtime.transcript import ReplacedStep, RequiredSkill, Transcript
from tasks_app.models import AgentTask, ContextSummary, Step, ToolCall
from tasks_app.queries.history import History, to_the_second

Kept = TypeVar("Kept", Limits, Usage)


def transcript_of(task: AgentTask, history: History, *, system: str) -> Transcript:
    """Return the transcript as it stood after the last commit."""
    skill = task.required_skill
    required = RequiredSkill(id=skill["id"], name=skill["name"]) if skill else None
    transcript = Transcript(
        context=Context(
            head=[system_message(system), task_message(task.prompt, required)], model=task.model
        ),
        limits=limits_of(task),
        started=(task.started_at or task.created_at).timestamp(),
        skill=required,
        opening_notes=task.opening_notes,
        caller_notes=task.caller_notes or (),
    )
    for row in _in_order(history):
        if row.run_number != transcript.run_number:
            transcript.new_run(row.run_number)
        if isinstance(row, ContextSummary):
            _add_summary(transcript, row)
        else:
            _add_step(transcript, row, history)
    if task.run_number != transcript.run_number:
        transcript.new_run(task.run_number)
    return transcript


def _in_order(history: History) -> list[Step | ContextSummary]:
    rows: list[Step | ContextSummary] = [*history.steps, *history.summaries]
    return sorted(rows, key=_order) if history.summaries else rows


def _order(row: Step | ContextSummary) -> tuple[int, int, int]:
    if isinstance(row, ContextSummary):
        return row.run_number, row.after_step, row.number
    return row.run_number, row.index, 0


def _add_step(transcript: Transcript, step: Step, history: History) -> None:
    transcript.offered = step.request.get("tools", transcript.offered)
    if (step.run_number, step.index) > history.through:
        transcript.add(turn_of(step))
        return
    transcript.add_replaced(
        ReplacedStep(
            index=step.index,
            mark=_mark(step),
            usage=usage_of(step.usage),
            facts=history.facts.get(step.pk, ()),
            cut_text=history.cut_texts.get(step.pk),
        )
    )


def _add_summary(transcript: Transcript, row: ContextSummary) -> None:
    transcript.context.apply(Mark.from_json(row.mark))
    usage = None if row.usage is None else usage_of(row.usage)
    if not row.text or usage is None:
        transcript.summary_failed(usage)
        return
    transcript.summarise(
        Summary(
            through=Place(row.through_run, row.through_step, 0),
            made_after=transcript.context.last,
            text=row.text,
            ledger=row.ledger,
            pinned=tuple(row.pinned),
        ),
        usage,
    )


def _mark(step: Step) -> Mark | None:
    kept = step.request.get("context")
    return Mark.from_json(kept) if kept else None


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
        mark=_mark(step),
        caller_notes=step.request.get("caller_notes", ()),
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
        result=_result(row, state),
        refused=row.refused,
        at=to_the_second(row.completed_at),
    )


def _result(row: ToolCall, state: CallState) -> ToolResult | None:
    if row.result is None:
        return None
    return ToolResult(text=row.result, state=state, size=row.result_size or 0)
