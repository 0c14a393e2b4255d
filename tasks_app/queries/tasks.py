"""Reading tasks for those who ask about them."""

from __future__ import annotations

import datetime
import functools
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import F

from agent_runtime.messages import CallState
from agent_runtime.outcome import StopReason
from caylex_project.accounts.models import Project
from caylex_project.db.compiled_query import CompiledQuery
from tasks_app.models import AgentTask, Step, ToolCall
from tasks_app.queries.events import version_of
from tasks_app.states import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSummary:
    """What a list shows of a task: all that is in its row and short; times are in UTC."""

    id: uuid.UUID
    session_id: uuid.UUID
    project_id: uuid.UUID
    status: Status
    stop_reason: StopReason | None
    model: str
    user_email: str
    required_skill: Mapping[str, str] | None
    metadata: Mapping[str, str]
    error: str | None
    cancel_requested_at: datetime.datetime | None
    steps_completed: int
    summaries_made: int
    tool_calls_made: int
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    reasoning_tokens: int
    cost_usd: Decimal | None
    created_at: datetime.datetime
    started_at: datetime.datetime | None
    completed_at: datetime.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDetail(TaskSummary):
    """A task as its submitter may see it.

    `calling` is the first tool call on the wire as `server: tool` while it runs, else None.
    `suspended` says, while it waits, what keeps it from going on: "project is paused".
    `version` changes whenever the status or the progress does.
    """

    limits: Mapping[str, Any]
    rerun_of_id: uuid.UUID | None
    report: str | None
    final_report_produced: bool | None
    attempt: int
    waiting_reason: str
    next_attempt_at: datetime.datetime
    authentication_needed: tuple[str, ...]
    run_number: int
    awaits_connection: bool = False
    calling: str | None = None
    suspended: str = ""
    version: str = ""
    crashes: int = 0


_SHORT = [
    "id",
    "session_id",
    "project_id",
    "model",
    "required_skill",
    "metadata",
    "error",
    "cancel_requested_at",
    "steps_completed",
    "summaries_made",
    "tool_calls_made",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "reasoning_tokens",
    "cost_usd",
    "created_at",
    "started_at",
    "completed_at",
]
_LONG = [
    *("limits", "rerun_of_id"),
    *("report", "final_report_produced"),
    *("attempt", "crashes", "waiting_reason", "next_attempt_at", "run_number"),
]
_READ = ["status", "stop_reason", "user_email"]  # and shown as something else
_DETAIL_COLUMNS = [*_SHORT, *_LONG, "status", "stop_reason", "authentication_needed", "sequence"]
_JUDGED = ["connection_wait_until"]  # read, and shown as something else
_TASK = CompiledQuery(
    lambda task, tenant: (
        AgentTask.objects.filter(id=task, tenant_id=tenant)
        .select_related("end_user")
        .only(*_DETAIL_COLUMNS, *_JUDGED, "end_user__email", "end_user__disabled_at")
    ),
    task=uuid.UUID,
    tenant=uuid.UUID,
)
_PROJECT = CompiledQuery(
    lambda project: (
        Project.objects.filter(pk=project)
        .select_related("tenant")
        .only("paused", "disabled_at", "tenant__paused", "tenant__disabled_at")
    ),
    project=uuid.UUID,
)


def find_task(*, task_id: uuid.UUID, tenant_id: uuid.UUID) -> TaskDetail | None:
    """Return the tenant's task, in one query once it has ended, or None as if there were none.

    A waiting task costs a second query, and so does a running one that has moved since anybody
    last asked.
    """
    row = _TASK.find(task=task_id, tenant=tenant_id)
    return None if row is None else detail_of(row)


def find_summaries(*, task_ids: Sequence[uuid.UUID]) -> list[TaskSummary]:
    """Return those of the tasks that there are, the newest first, in one query."""
    rows = (
        AgentTask.objects.filter(id__in=task_ids)
        .annotate(user_email=F("end_user__email"))
        .order_by("-created_at", "-id")
        .values(*_SHORT, *_READ)
    )
    return [TaskSummary(**_short(row)) for row in rows]


def detail_of(task: AgentTask) -> TaskDetail:
    """Return the view of a row that was read before, with its end user."""
    row = {name: getattr(task, name) for name in _DETAIL_COLUMNS}
    running = task.status == Status.RUNNING
    return _detail(
        {**row, "user_email": task.end_user.email},
        awaits_connection=task.awaits_connection,
        calling=_calling(task.pk, task.sequence) if running else None,
        suspended=_suspended_by(task) if task.status == Status.PENDING else "",
    )


def _suspended_by(task: AgentTask) -> str:
    """Return what keeps a waiting task from going on, or ""."""
    project = _PROJECT.find(project=task.project_id)
    assert project is not None
    scopes: dict[str, Any] = {
        "tenant": project.tenant,
        "project": project,
        "end user": task.end_user,
    }
    for name, scope in scopes.items():
        if scope.disabled_at is not None:
            return f"{name} is disabled"
        if getattr(scope, "paused", False):
            return f"{name} is paused"
    return ""


@functools.lru_cache(maxsize=10_000)
def _calling(task_id: uuid.UUID, sequence: int) -> str | None:
    """Return the first call that is on the wire in the newest step.

    Every change of a call moves the task's sequence, so what was found for one number holds.
    """
    newest = Step.objects.filter(task_id=task_id).order_by("-run_number", "-index").values("pk")
    calls = ToolCall.objects.filter(step=newest[:1], state=CallState.STARTED.value)
    for server, tool in calls.order_by("index").values_list("server", "tool")[:1]:
        return f"{server}: {tool}" if server else str(tool)
    return None


def _detail(
    row: dict[str, Any], *, awaits_connection: bool, calling: str | None, suspended: str
) -> TaskDetail:
    return TaskDetail(
        **_short(row),
        **{name: row[name] for name in _LONG},
        authentication_needed=tuple(row["authentication_needed"]),
        awaits_connection=awaits_connection,
        calling=calling,
        suspended=suspended,
        version=version_of(
            sequence=row["sequence"],
            cancel_requested_at=row["cancel_requested_at"],
            is_suspended=suspended != "",
        ),
    )


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: row[name] for name in _SHORT},
        "status": Status(row["status"]),
        "stop_reason": StopReason(row["stop_reason"]) if row["stop_reason"] else None,
        "user_email": row["user_email"],
    }
