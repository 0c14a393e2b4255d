"""A claimed task out of its rows: read once, from here memory follows the rows."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from agent_runtime.ports import ServerState
from agent_runtime.prompt import PromptFacts, SkillEntry, system_prompt
from agent_runtime.tools.access import ServerAccess
from caylex_project.integrations.connections import accesses_for
from skills_app.operations import catalogue
from tasks_app.models import AgentTask, Step
from tasks_app.states import Status
from tasks_app.transcripts import steps_of
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
    steps = steps_of(task)
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


def revision_of(record: Record, skill_id: str) -> uuid.UUID | None:
    """Return the revision of a skill that this run keeps, or None for an unknown skill."""
    found = record.revisions.get(skill_id)
    return uuid.UUID(found) if found else None
