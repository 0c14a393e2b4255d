"""After a restore of the database: nothing starts, and what would be repeated is listed.

A restored database has forgotten what was done since the backup, and the world has not.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from agent_runtime.messages import CallState
from caylex_project.accounts.audit import record
from caylex_project.accounts.models import Tenant
from tasks_app.models import AgentTask, BulkOperation, ToolCall, WebhookDelivery, Worker
from tasks_app.states import DeliveryState, WorkerState

REASON = "The database was restored from a backup."


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCall:
    """A tool call without a result: what becomes of it when its task continues."""

    name: str
    state: CallState
    repeatable: bool

    @property
    def would(self) -> str:
        """What the next owner of the task does with it."""
        if self.state == CallState.PLANNED:
            return "would be sent; it may have been sent after the backup"
        if self.repeatable:
            return "would be sent again with the same idempotency key"
        return "would not be sent again; the agent is told that it may have happened"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTask:
    """A task that has not ended, and the calls that come next."""

    id: uuid.UUID
    tenant: str
    project: str
    user_email: str
    status: str
    steps: int
    created_at: datetime.datetime
    calls: tuple[OpenCall, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What `after_restore` did and found. Tenants by name; the rest are counts."""

    paused: tuple[str, ...]
    paused_before: tuple[str, ...]
    tasks: tuple[LiveTask, ...]
    waiting_messages: int
    unfinished_bulk_operations: int
    living_workers: int


class _Command:
    """Who did it, in the audit trail."""

    def get_username(self) -> str:
        """Return the name."""
        return "manage.py after_restore"


def after_restore(*, now: datetime.datetime) -> Restored:
    """Pause every tenant, and return what is live. Safe to repeat.

    Each pause has an entry in the audit trail, in the same transaction.
    """
    with transaction.atomic():
        tenants = list(Tenant.objects.select_for_update().order_by("name"))
        running = [each for each in tenants if not each.paused]
        for tenant in running:
            tenant.paused = True
            tenant.save(update_fields=["paused"])
            record(actor=_Command(), action="pause", on=tenant, reason=REASON, now=now)
    alive = Worker.objects.filter(
        state__in=[WorkerState.ALIVE, WorkerState.DRAINING], lease_until__gt=now
    )
    return Restored(
        paused=tuple(each.name for each in running),
        paused_before=tuple(each.name for each in tenants if each not in running),
        tasks=tuple(_live_tasks()),
        waiting_messages=WebhookDelivery.objects.filter(state=DeliveryState.WAITING).count(),
        unfinished_bulk_operations=BulkOperation.objects.filter(completed_at=None).count(),
        living_workers=alive.count(),
    )


def _live_tasks() -> Sequence[LiveTask]:
    tasks = AgentTask.objects.filter(completed_at=None).select_related(
        "tenant", "project", "end_user"
    )
    calls: dict[uuid.UUID, list[OpenCall]] = {}
    for task_id, name, state, repeatable in _open_calls():
        call = OpenCall(name=name, state=CallState(state), repeatable=repeatable)
        calls.setdefault(task_id, []).append(call)
    return [
        LiveTask(
            id=task.id,
            tenant=task.tenant.name,
            project=task.project.name,
            user_email=task.end_user.email,
            status=task.status,
            steps=task.steps_completed,
            created_at=task.created_at,
            calls=tuple(calls.get(task.id, ())),
        )
        for task in tasks.order_by("tenant__name", "project__name", "created_at", "id")
    ]


def _open_calls() -> Sequence[tuple[uuid.UUID, str, str, bool]]:
    found = ToolCall.objects.filter(
        step__task__completed_at=None, state__in=[CallState.PLANNED, CallState.STARTED]
    )
    ordered = found.order_by("step__run_number", "step__index", "index")
    return list(ordered.values_list("step__task_id", "name", "state", "repeatable"))
