"""The trace of a session: which tools its tasks called, with what, and what came of it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Exists, OuterRef, Prefetch

from tasks_app.models import AgentTask, Step, ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class CallGroup:
    """The calls that one step asked for, to run in parallel."""

    id: uuid.UUID
    calls: Sequence[ToolCall]


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePage:
    """Groups in their order, from `offset` on, and how many there are in all."""

    groups: Sequence[CallGroup]
    total: int


def read_trace(
    *, session_id: uuid.UUID, tenant_id: uuid.UUID, offset: int, limit: int
) -> TracePage | None:
    """Return up to `limit` groups, or None: the tenant has no such session."""
    tasks = AgentTask.objects.filter(session_id=session_id, tenant_id=tenant_id)
    ids = list(tasks.values_list("pk", flat=True))
    if not ids:
        return None
    steps = Step.objects.filter(Exists(ToolCall.objects.filter(step=OuterRef("pk"))), task__in=ids)
    calls = Prefetch("tool_calls", queryset=ToolCall.objects.order_by("index"))
    page = (
        steps.order_by("task__created_at", "task_id", "sequence")
        .only("id")
        .prefetch_related(calls)[offset : offset + limit]
    )
    return TracePage(
        groups=[CallGroup(id=step.pk, calls=list(step.tool_calls.all())) for step in page],
        total=steps.count(),
    )
