"""Stopping a task."""

from __future__ import annotations

import datetime
import uuid

from django.db import transaction

from tasks_app.notifications.changes import publish_changes
from tasks_app.operations.locked import locked_task
from tasks_app.operations.terminate import end_cancelled
from tasks_app.states import Status

MAX_REASON = 500  # characters of a cancel's reason that are kept


def cancel(
    *, task_id: uuid.UUID, tenant_id: uuid.UUID | None, reason: str, now: datetime.datetime
) -> bool:
    """Stop a task; True when it was not over yet. Asking again changes nothing.

    A task that waits ends here and now. One that runs is marked: its owner ends it within two
    seconds, and where no owner answers the sweep does. `tenant_id` None means any tenant's.
    Raises TaskNotFound.
    """
    with transaction.atomic():
        task = locked_task(task_id=task_id, tenant_id=tenant_id)
        if Status(task.status).terminal:
            return False
        if task.cancel_requested_at is None:
            task.cancel_requested_at = now
            task.cancel_reason = reason[:MAX_REASON]
            task.save(update_fields=["cancel_requested_at", "cancel_reason"])
            publish_changes([task.pk])
        if task.status == Status.PENDING:
            end_cancelled(task, now=now)
    return True
