"""Finding a tenant's tasks: the newest first, a page at a time.

A page is told by the place after which it begins, `created_at` and id of the last task before it,
so that the thousandth costs what the first does, and new tasks shift nothing.
"""

from __future__ import annotations

import base64
import datetime
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.text import slugify

from caylex_project.accounts.models import EndUser
from tasks_app.models import AgentTask, TaskMetadata
from tasks_app.queries.tasks import TaskSummary, find_summaries
from tasks_app.states import Status

MAX_COUNTED = 1_000  # tasks; a larger total is not told
_CURSOR = re.compile(r"[A-Za-z0-9_-]{32}")
_EPOCH = datetime.datetime.fromtimestamp(0, tz=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_LAST = (datetime.datetime.max.replace(tzinfo=datetime.UTC) - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """What a task has to be to be listed; None and empty let all through.

    `user_email` is normalised, `skill` a slug or a name. `created_after` is the first moment that
    is listed, `created_before` the first that is not.
    """

    statuses: Sequence[Status] = ()
    user_email: str | None = None
    project_id: uuid.UUID | None = None
    skill: str | None = None
    created_after: datetime.datetime | None = None
    created_before: datetime.datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCursor:
    """Where a task stands among the others."""

    created_at: datetime.datetime
    task_id: uuid.UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage:
    """A page of tasks; `total` is None beyond MAX_COUNTED, `next_cursor` at the end."""

    tasks: Sequence[TaskSummary]
    total: int | None
    next_cursor: TaskCursor | None


def encode_cursor(place: TaskCursor) -> str:
    """Return the place as the text that callers hand back."""
    microseconds = (place.created_at - _EPOCH) // _MICROSECOND
    number = microseconds << 128 | place.task_id.int
    return base64.urlsafe_b64encode(number.to_bytes(24)).decode()


def decode_cursor(cursor: str) -> TaskCursor | None:
    """Return the place that `encode_cursor` wrote down, None where it is no such text."""
    if not _CURSOR.fullmatch(cursor):
        return None
    number = int.from_bytes(base64.urlsafe_b64decode(cursor))
    microseconds, task_id = divmod(number, 1 << 128)
    created_at = _EPOCH + min(microseconds, _LAST) * _MICROSECOND
    return TaskCursor(created_at=created_at, task_id=uuid.UUID(int=task_id))


def list_tasks(
    *, tenant_id: uuid.UUID, wanted: TaskFilter, after: TaskCursor | None, size: int
) -> TaskPage:
    """Return up to `size` of the tenant's tasks that come after a place.

    1. Read the ids alone, in the order of an index: of the tasks, or of the first metadata pair.
    2. Read the tasks of these ids.
    3. Count up to MAX_COUNTED, in any order, unless this page holds them all.
    """
    rows, task = _matching(tenant_id=tenant_id, wanted=wanted)
    newest = _after(rows, after, task=task).order_by("-created_at", f"-{task}")
    found = list(newest.values_list(task, flat=True)[: size + 1])
    tasks = find_summaries(task_ids=found[:size])
    whole = after is None and len(found) <= size
    counted = len(found) if whole else rows.order_by().values(task)[: MAX_COUNTED + 1].count()
    last = tasks[-1] if len(found) > size and tasks else None
    return TaskPage(
        tasks=tasks,
        total=counted if counted <= MAX_COUNTED else None,
        next_cursor=None
        if last is None
        else TaskCursor(created_at=last.created_at, task_id=last.id),
    )


def _after(rows: QuerySet[Any], place: TaskCursor | None, *, task: str) -> QuerySet[Any]:
    if place is None:
        return rows
    same_moment = Q(created_at=place.created_at, **{f"{task}__lt": place.task_id})
    return rows.filter(
        Q(created_at__lt=place.created_at) | same_moment, created_at__lte=place.created_at
    )


def _matching(*, tenant_id: uuid.UUID, wanted: TaskFilter) -> tuple[QuerySet[Any], str]:
    """Return rows with a `created_at`, one for each task, and the name of the task's id there."""
    rows: QuerySet[Any]
    if wanted.metadata:
        rows, task, prefix = TaskMetadata.objects.all(), "task_id", "task__"
        (key, value), *others = wanted.metadata.items()
        rows = rows.filter(key=key, value=value)
        for key, value in others:  # a join each
            rows = rows.filter(
                task__metadata_rows__tenant_id=tenant_id,
                task__metadata_rows__key=key,
                task__metadata_rows__value=value,
            )
    else:
        rows, task, prefix = AgentTask.objects.all(), "id", ""
    conditions = _conditions(tenant_id=tenant_id, wanted=wanted)
    rows = rows.filter(tenant_id=tenant_id, **_period(wanted))
    return rows.filter(**{prefix + name: value for name, value in conditions.items()}), task


def _period(wanted: TaskFilter) -> dict[str, Any]:
    period = {"created_at__gte": wanted.created_after, "created_at__lt": wanted.created_before}
    return {name: value for name, value in period.items() if value is not None}


def _conditions(*, tenant_id: uuid.UUID, wanted: TaskFilter) -> dict[str, Any]:
    conditions: dict[str, Any] = {}
    if wanted.statuses:
        conditions["status__in"] = wanted.statuses
    if wanted.project_id is not None:
        conditions["project_id"] = wanted.project_id
    if wanted.skill is not None:
        conditions["skill_slug"] = slugify(wanted.skill)
    if wanted.user_email is not None:
        users = EndUser.objects.filter(project__tenant_id=tenant_id, email=wanted.user_email)
        conditions["end_user_id__in"] = list(users.values_list("pk", flat=True))
    return conditions
