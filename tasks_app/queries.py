"""Reading tasks for those who ask about them."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import Case, F, OuterRef, Subquery, Value, When
from django.db.models.functions import Concat

from agent_runtime.endings import StopReason
from agent_runtime.messages import CallState
from tasks_app.models import AgentTask, Step, ToolCall
from tasks_app.states import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """A task as its submitter may see it; times are in UTC.

    `calling` is the first tool call on the wire as `server: tool` while it runs, else None.
    """

    id: uuid.UUID
    session_id: uuid.UUID
    status: Status
    stop_reason: StopReason | None
    model: str
    user_email: str
    required_skill: Mapping[str, str] | None
    report: str | None
    final_report_produced: bool | None
    error: str | None
    attempt: int
    waiting_reason: str
    next_attempt_at: datetime.datetime
    cancel_requested_at: datetime.datetime | None
    authentication_needed: tuple[str, ...]
    steps_completed: int
    tool_calls_made: int
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    reasoning_tokens: int
    cost_usd: Decimal | None
    created_at: datetime.datetime
    started_at: datetime.datetime | None
    completed_at: datetime.datetime | None
    calling: str | None = None


_SAME = [
    "id",
    "session_id",
    "model",
    "required_skill",
    "report",
    "final_report_produced",
    "error",
    "attempt",
    "waiting_reason",
    "next_attempt_at",
    "cancel_requested_at",
    "steps_completed",
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


def find_task(*, task_id: uuid.UUID, tenant_id: uuid.UUID) -> TaskView | None:
    """Return the tenant's task in one query, or None as if there were none."""
    row = (
        AgentTask.objects.filter(id=task_id, tenant_id=tenant_id)
        .annotate(user_email=F("end_user__email"), calling=_calling())
        .values(*_SAME, "status", "stop_reason", "authentication_needed", "user_email", "calling")
        .first()
    )
    return None if row is None else _view(row)


def _calling() -> Case:
    """The call on the wire in the newest step, looked up for running tasks alone."""
    newest = (
        Step.objects.filter(task=OuterRef(OuterRef("pk")))
        .order_by("-run_number", "-index")
        .values("pk")[:1]
    )
    call = (
        ToolCall.objects.filter(step=Subquery(newest), state=CallState.STARTED.value)
        .order_by("index")
        .values(label=Concat("server", Value(": "), "tool"))[:1]
    )
    return Case(When(status=Status.RUNNING.value, then=Subquery(call)), default=None)


def _view(row: dict[str, Any]) -> TaskView:
    return TaskView(
        **{name: row[name] for name in _SAME},
        status=Status(row["status"]),
        stop_reason=StopReason(row["stop_reason"]) if row["stop_reason"] else None,
        authentication_needed=tuple(row["authentication_needed"]),
        user_email=row["user_email"],
        calling=row["calling"],
    )
