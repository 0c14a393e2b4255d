"""Workers, tasks and a driver for the engine's tests."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from agent_runtime.messages import CallState, ToolResult
from agent_runtime.ports import Model
from agent_runtime.testing import FakeTools
from skills_app.operations import SkillText
from tasks_app.models import AgentTask, Worker
from tasks_app.queries.run_transcript import transcript_of
from tasks_app.states import WorkerState
from tasks_app.worker.claiming.claim import Claim, claim_due
from tasks_app.worker.database import Database
from tasks_app.worker.execution.active_task import ActiveTask
from tasks_app.worker.execution.driver import Driver
from tasks_app.worker.execution.rebuild import load_task, pinned_system_prompt
from tasks_app.worker.execution.toolbox import Toolbox
from tasks_app.worker.execution.whole_results import read_result
from tasks_app.worker.execution.windows import Windows, keep_learned
from tasks_app.worker.journal.journal import Journal
from tests.support.factories import AgentTaskFactory

LIMITS = {"schema": 1, "max_steps": 50, "max_tool_calls": None, "timeout_seconds": 3600}


def a_worker(*, lease: float = 30.0, state: str = WorkerState.ALIVE, **values: Any) -> Worker:
    """Write a worker of another machine, so that no sweep takes it for a local corpse."""
    now = timezone.now()
    return Worker.objects.create(
        host="elsewhere",
        machine="another-machine",
        pid=1,
        pid_started="1",
        version="test",
        state=state,
        lease_until=now + datetime.timedelta(seconds=lease),
        capacity=10,
        started_at=now,
        **values,
    )


def a_task(*, due_in: float = -1.0, **values: Any) -> AgentTask:
    """Write a pending task."""
    now = timezone.now()
    values = {
        "created_at": now,
        "next_attempt_at": now + datetime.timedelta(seconds=due_in),
        "limits": LIMITS,
        "prompt": "Do it.",
        "model": "scripted",
        **values,
    }
    task: AgentTask = AgentTaskFactory.create(**values)
    return task


def copies(task: AgentTask, *, count: int, **values: Any) -> None:
    """Write copies of a task."""
    fields = AgentTask._meta.concrete_fields
    kept = {field.attname: getattr(task, field.attname) for field in fields if field.name != "id"}
    AgentTask.objects.bulk_create(
        (AgentTask(**{**kept, **values}) for _ in range(count)), batch_size=2000
    )


def claim_all(worker: Worker, *, limit: int = 16) -> list[Claim]:
    """Claim what is due for a worker."""
    return claim_due(worker_id=worker.id, limit=limit, after_tenant=uuid.UUID(int=0))[0]


def claimed_task(**values: Any) -> tuple[AgentTask, Claim]:
    """Write a task that a fresh worker holds."""
    task = a_task(**values)
    (claim,) = claim_all(a_worker())
    task.refresh_from_db()
    return task, claim


async def no_results(arguments: Mapping[str, Any]) -> ToolResult:
    """Answer `read_result` where nothing was kept."""
    return ToolResult(text="There is none.", state=CallState.FAILED)


async def take(
    database: Database,
    claim: Claim,
    tools: FakeTools,
    journal: Journal,
    windows: Windows | None = None,
    skill: str = "body of {id}",
) -> ActiveTask:
    """Read a claimed task and put it into an owner's hands."""
    record = await database.run(load_task, claim)

    async def read_skill(skill_id: str, path: str | None) -> SkillText | None:
        return SkillText(skill.format(id=skill_id)) if skill_id in record.revisions else None

    async def answer_read_result(arguments: Mapping[str, Any]) -> ToolResult:
        return await database.run(read_result, claim.task_id, arguments)

    toolbox = Toolbox(
        servers=tools,
        read_skill=read_skill,
        read_result=answer_read_result,
        has_skills=bool(record.revisions),
    )
    await toolbox.open()
    system = pinned_system_prompt(record, tools.servers)
    windows = windows or Windows()
    windows.note(record.windows, now=timezone.now())

    async def learn(model: str, tokens: int) -> None:
        now = timezone.now()
        rows = await database.run(keep_learned, model=model, tokens=tokens, now=now)
        windows.note(rows, now=now)

    held = ActiveTask(
        claim=claim,
        project_id=record.task.project_id,
        model=record.task.model,
        run_number=record.task.run_number,
        transcript=transcript_of(record.task, record.history, system=system),
        toolbox=toolbox,
        journal=journal,
        sequence=record.task.sequence,
        attempt=record.task.attempt,
        pinned={"system": system, "revisions": dict(record.revisions)},
        windows=windows,
        learn=learn,
        summaries=record.task.summaries_made,
    )
    held.transcript.context.tools_size = toolbox.size
    return held


def a_driver(model: Model, *, max_attempts: int = 5) -> Driver:
    """Return a driver that is not told to end."""
    return Driver(
        model=model, model_timeout=30.0, max_attempts=max_attempts, draining=asyncio.Event()
    )


async def drive(
    database: Database,
    model: Model,
    tools: FakeTools,
    claim: Claim,
    *,
    driver: Driver | None = None,
    journal: Journal | None = None,
    windows: Windows | None = None,
) -> None:
    """Drive a claimed task until it is let go."""
    journal = journal or Journal(database)
    held = await take(database, claim, tools, journal, windows)
    await (driver or a_driver(model)).drive(held)
