"""Deleting a task with all that was written of it."""

from __future__ import annotations

import uuid

from django.db import transaction

from tasks_app.notifications.changes import publish_changes
from tasks_app.operations.locked import locked_task
from tasks_app.states import Status


class NotFinished(Exception):
    """The task has not ended; `str()` says that only what has ended can be deleted."""


def delete(*, task_id: uuid.UUID, tenant_id: uuid.UUID) -> None:
    """Delete a finished task, its steps, calls, events, metadata and deliveries.

    The task's lock keeps a retry from beginning in between. Raises TaskNotFound and NotFinished.
    """
    with transaction.atomic():
        task = locked_task(task_id=task_id, tenant_id=tenant_id)
        if not Status(task.status).terminal:
            raise NotFinished("Only a task that has ended can be deleted. Cancel it first.")
        publish_changes([task.pk])
        task.delete()
