"""The caller's own string pairs: kept with the task, and as rows to find it by."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping

from django.db import transaction

from tasks_app.models import AgentTask, TaskMetadata
from tasks_app.notifications.changes import publish_changes
from tasks_app.operations.locked import locked_task

MAX_PAIRS = 16
MAX_KEY = 64  # characters
MAX_VALUE = 512  # characters


class TooManyPairs(Exception):
    """With the change the task would have more than MAX_PAIRS; `str()` says so."""


def index_metadata(task: AgentTask, *, keys: Iterable[str]) -> None:
    """Make the rows by which the task is found for those of the keys that its metadata holds.

    In the transaction that writes the metadata; the task has no rows for these keys.
    """
    TaskMetadata.objects.bulk_create(
        TaskMetadata(
            task=task,
            tenant_id=task.tenant_id,
            key=key,
            value=task.metadata[key],
            created_at=task.created_at,
        )
        for key in keys
        if key in task.metadata
    )


def change_metadata(
    *, task_id: uuid.UUID, tenant_id: uuid.UUID, changes: Mapping[str, str | None]
) -> None:
    """Set the keys that are given, remove those whose value is None, leave the others.

    Raises TaskNotFound, and TooManyPairs where nothing was changed.
    """
    with transaction.atomic():
        task = locked_task(task_id=task_id, tenant_id=tenant_id)
        merged = {**task.metadata, **changes}
        task.metadata = {key: value for key, value in merged.items() if value is not None}
        if len(task.metadata) > MAX_PAIRS:
            raise TooManyPairs(
                f"With these the task would have {len(task.metadata)} pairs; it has at most "
                f"{MAX_PAIRS}. Remove some, by null."
            )
        task.save(update_fields=["metadata"])
        TaskMetadata.objects.filter(task=task, key__in=list(changes)).delete()
        index_metadata(task, keys=changes)
        publish_changes([task.pk])
