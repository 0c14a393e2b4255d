"""A claimed task out of its rows: read once, from here memory follows the rows."""

from __future__ import annotations

import dataclasses
import datetime
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from agent_runtime.endings import StopReason
from agent_runtime.limits import Limits
from agent_runtime.messages import (
    Call,
    CallState,
    ModelAnswer,
    Tool,
    ToolRequest,
    ToolResult,
    Turn,
    system_message,
    text_of,
)
from agent_runtime.planning import parse_arguments
from agent_runtime.ports import ServerState
from agent_runtime.prompt import PromptFacts, SkillEntry, system_prompt, task_message
from agent_runtime.tools.access import ServerAccess
from agent_runtime.transcript import RequiredSkill, Transcript
from caylex_project.integrations.connections import accesses_for
from skills_app.operations import catalogue
from tasks_app.models import AgentTask, Step, ToolCall
from tasks_app.states import Status
from tasks_app.worker.claim import Claim
from tasks_app.worker.journal import Fenced


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the rows say of a claimed task, and whom it may talk to."""

    task: AgentTask
    steps: Sequence[Step]
    accesses: Sequence[ServerAccess] = field(repr=False)
    skills: Sequence[SkillEntry]
    revisions: Mapping[str, str]  # skill id to the revision that this run keeps


def read_record(claim: Claim) -> Record:
    """Read a claimed task. Raises Fenced when it is no longer ours."""
    task = (
        AgentTask.objects.select_related("project", "navigator", "end_user")
        .filter(pk=claim.task_id, epoch=claim.epoch, status=Status.RUNNING)
        .first()
    )
    if task is None:
        raise Fenced(str(claim.task_id))
    steps = list(task.steps.order_by("run_number", "index").prefetch_related("tool_calls"))
    entries = list(catalogue(project=task.project, navigator=task.navigator))
    first = first_step(task, steps)
    return Record(
        task=task,
        steps=steps,
        accesses=accesses_for(
            project=task.project, navigator=task.navigator, end_user=task.end_user
        ),
        skills=[SkillEntry(id=str(e.id), name=e.name, description=e.description) for e in entries],
        revisions=(
            first.request["revisions"]
            if first
            else {str(entry.id): str(entry.revision_id) for entry in entries}
        ),
    )


def first_step(task: AgentTask, steps: Sequence[Step]) -> Step | None:
    """Return the first step of the current run, where what is fixed for the run stands."""
    of_run = (step for step in steps if step.run_number == task.run_number and step.index == 1)
    return next(of_run, None)


def fixed_prompt(record: Record, servers: Sequence[ServerState]) -> str:
    """Return the run's system prompt: as stored with its first step, or made now."""
    first = first_step(record.task, record.steps)
    if first is not None:
        return str(first.request["system"])
    project = record.task.project
    return system_prompt(
        PromptFacts(
            now=datetime.datetime.now(ZoneInfo(project.timezone)),
            timezone=project.timezone,
            project=project.name,
            instructions=project.instructions,
            user_email=record.task.end_user.email,
            servers=servers,
            skills=record.skills,
        )
    )


def rebuild(record: Record, *, system: str) -> Transcript:
    """Return the transcript as it stood after the last commit."""
    task = record.task
    assert task.started_at is not None
    skill = task.required_skill
    required = RequiredSkill(id=skill["id"], name=skill["name"]) if skill else None
    transcript = Transcript(
        messages=[system_message(system), task_message(task.prompt, required)],
        limits=_limits(task.limits),
        started=task.started_at.timestamp(),
        skill=required,
    )
    run_number = 1
    for step in record.steps:
        if step.run_number != run_number:
            transcript.new_run()
            run_number = step.run_number
        transcript.add(_turn(step))
    if task.run_number != run_number:
        transcript.new_run()
    return transcript


def _limits(stored: Mapping[str, Any]) -> Limits:
    return Limits(**{each.name: stored[each.name] for each in dataclasses.fields(Limits)})


def _turn(step: Step) -> Turn:
    calls = sorted(step.tool_calls.all(), key=lambda call: call.index)
    closing = step.request.get("closing")
    return Turn(
        index=step.index,
        notes=step.request["notes"],
        answer=ModelAnswer(
            message=step.response,
            text=text_of(step.response),
            requests=tuple(_request(call) for call in calls),
            finish_reason=step.finish_reason,
        ),
        calls=[_call(call) for call in calls],
        closing=StopReason(closing) if closing else None,
    )


def _request(row: ToolCall) -> ToolRequest:
    return ToolRequest(call_id=row.call_id, name=row.name, arguments=row.arguments)


def _call(row: ToolCall) -> Call:
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
        request=_request(row),
        arguments=parse_arguments(row.arguments),
        tool=tool,
        state=state,
        result=None if row.result is None else ToolResult(text=row.result, state=state),
        refused=row.refused,
    )


def revision_of(record: Record, skill_id: str) -> uuid.UUID | None:
    """Return the revision of a skill that this run keeps, or None for an unknown skill."""
    found = record.revisions.get(skill_id)
    return uuid.UUID(found) if found else None
