"""A task under its row's lock: what every operation on one begins with."""

from __future__ import annotations

import uuid

from django.db.models import QuerySet

from tasks_app.models import AgentTask


class TaskNotFound(Exception):
    """There is no such task, or it is another tenant's."""


def locked_task(*, task_id: uuid.UUID, tenant_id: uuid.UUID | None) -> AgentTask:
    """Return the task, locked until the transaction ends; `tenant_id` None means any tenant's.

    Raises TaskNotFound.
    """
    return _one(AgentTask.objects.select_for_update(no_key=True), task_id, tenant_id)


def get_task(*, task_id: uuid.UUID, tenant_id: uuid.UUID | None) -> AgentTask:
    """Return the task as it stands, for what of it never changes; as `locked_task` otherwise."""
    return _one(AgentTask.objects.all(), task_id, tenant_id)


def _one(tasks: QuerySet[AgentTask], task_id: uuid.UUID, tenant_id: uuid.UUID | None) -> AgentTask:
    found = tasks.filter(pk=task_id)
    task = (found.filter(tenant_id=tenant_id) if tenant_id else found).first()
    if task is None:
        raise TaskNotFound
    return task
