"""A task under its row's lock: what every operation on one begins with."""

from __future__ import annotations

import uuid

from tasks_app.models import AgentTask


class TaskNotFound(Exception):
    """There is no such task, or it is another tenant's."""


def locked_task(*, task_id: uuid.UUID, tenant_id: uuid.UUID | None) -> AgentTask:
    """Return the task, locked until the transaction ends; `tenant_id` None means any tenant's.

    Raises TaskNotFound.
    """
    tasks = AgentTask.objects.select_for_update(no_key=True).filter(pk=task_id)
    task = (tasks.filter(tenant_id=tenant_id) if tenant_id else tasks).first()
    if task is None:
        raise TaskNotFound
    return task
