"""What is due, in the order in which it should be claimed.

Round the tenants, within a tenant round its projects, within a project by priority and then by
time. Left out is what may not run now: paused, disabled, or of a scope that runs as many tasks as
its limit says.
"""

from __future__ import annotations

import datetime
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from django.db import connection
from django.db.models import Count, F, Window
from django.db.models.functions import RowNumber

from caylex_project.accounts.models import Project
from caylex_project.accounts.suspension import active_projects
from tasks_app.models import SCHEMA, AgentTask
from tasks_app.states import Status
from tasks_app.worker.claiming.quarantine import QUARANTINED_AT, batch_size

CONCURRENCY_LIMIT = "max_concurrent_tasks"  # a key of the limits of a tenant or project
USER_CONCURRENCY_LIMIT = "max_concurrent_tasks_per_user"  # of a project


@dataclass(frozen=True, slots=True, kw_only=True)
class DueTask:
    """A task that could be claimed, and how many its tenant, project and user may run at once."""

    task_id: uuid.UUID
    tenant_id: uuid.UUID
    project_id: uuid.UUID
    end_user_id: uuid.UUID
    tenant_cap: int | None
    project_cap: int | None
    end_user_cap: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DueQuery:
    """How far to look: `limit` tasks at most, the tenants after `after_tenant` first.

    With `exclude_tenants`, one task of each tenant that is not among these, and no more.
    """

    limit: int
    after_tenant: uuid.UUID
    now: datetime.datetime
    exclude_tenants: Collection[uuid.UUID] | None = None


# A lane is what waits in one project at one priority. Its first task is one look into the index,
# and so is the next lane: the cost goes with the lanes, not with the tasks. Where a project has a
# limit for each user its lanes are the users, so that a user who is at it hides nobody.
_DUE = """
WITH RECURSIVE lane AS (
  (SELECT project_id, priority FROM tasks_app_agenttask WHERE status = 'PENDING'
   ORDER BY project_id, priority DESC LIMIT 1)
  UNION ALL
  SELECT next.project_id, next.priority FROM lane CROSS JOIN LATERAL (
    (SELECT project_id, priority FROM tasks_app_agenttask
     WHERE status = 'PENDING' AND project_id = lane.project_id AND priority < lane.priority
     ORDER BY priority DESC LIMIT 1)
    UNION ALL
    (SELECT project_id, priority FROM tasks_app_agenttask
     WHERE status = 'PENDING' AND project_id > lane.project_id
     ORDER BY project_id, priority DESC LIMIT 1)
    ORDER BY project_id, priority DESC LIMIT 1
  ) next
), scope AS (
  SELECT project.id AS project_id, project.tenant_id,
    (tenant.limits->>'max_concurrent_tasks')::int AS tenant_cap,
    (project.limits->>'max_concurrent_tasks')::int AS project_cap,
    (project.limits->>'max_concurrent_tasks_per_user')::int AS end_user_cap
  FROM accounts_project project JOIN accounts_tenant tenant ON tenant.id = project.tenant_id
  WHERE project.id IN (SELECT project_id FROM lane)
    AND NOT project.paused AND project.disabled_at IS NULL
    AND NOT tenant.paused AND tenant.disabled_at IS NULL
    AND tenant.id <> ALL (COALESCE(%(besides)s::uuid[], '{}'))
), open AS (
  SELECT * FROM scope WHERE
    (tenant_cap IS NULL OR tenant_cap > (SELECT count(*) FROM tasks_app_agenttask
       WHERE tenant_id = scope.tenant_id AND status = 'RUNNING'))
    AND (project_cap IS NULL OR project_cap > (SELECT count(*) FROM tasks_app_agenttask
       WHERE project_id = scope.project_id AND status = 'RUNNING'))
), limited_user AS (
  (SELECT open.project_id, first.end_user_id FROM open CROSS JOIN LATERAL (
    SELECT end_user_id FROM tasks_app_agenttask
    WHERE status = 'PENDING' AND project_id = open.project_id ORDER BY end_user_id LIMIT 1
  ) first WHERE open.end_user_cap IS NOT NULL)
  UNION ALL
  SELECT limited_user.project_id, next.end_user_id FROM limited_user CROSS JOIN LATERAL (
    SELECT end_user_id FROM tasks_app_agenttask
    WHERE status = 'PENDING' AND project_id = limited_user.project_id
      AND end_user_id > limited_user.end_user_id ORDER BY end_user_id LIMIT 1
  ) next
), saturated_user AS (
  SELECT task.end_user_id FROM open JOIN tasks_app_agenttask task USING (project_id)
  WHERE open.end_user_cap IS NOT NULL AND task.status = 'RUNNING'
  GROUP BY task.end_user_id, open.end_user_cap HAVING count(*) >= open.end_user_cap
), due AS (
  SELECT next.*, open.* FROM open JOIN lane USING (project_id) CROSS JOIN LATERAL (
    SELECT id, end_user_id, priority, next_attempt_at FROM tasks_app_agenttask
    WHERE project_id = lane.project_id AND priority = lane.priority AND status = 'PENDING'
      AND next_attempt_at <= %(now)s AND crashes < %(quarantined)s AND schema_version <= %(schema)s
    ORDER BY next_attempt_at, id LIMIT %(many)s
  ) next WHERE open.end_user_cap IS NULL
  UNION ALL
  SELECT next.*, open.* FROM open JOIN limited_user USING (project_id) CROSS JOIN LATERAL (
    SELECT id, end_user_id, priority, next_attempt_at FROM tasks_app_agenttask
    WHERE project_id = limited_user.project_id AND end_user_id = limited_user.end_user_id
      AND status = 'PENDING'
      AND next_attempt_at <= %(now)s AND crashes < %(quarantined)s AND schema_version <= %(schema)s
    ORDER BY priority DESC, next_attempt_at, id LIMIT LEAST(%(many)s, open.end_user_cap)
  ) next WHERE limited_user.end_user_id NOT IN (SELECT end_user_id FROM saturated_user)
), of_project AS (
  SELECT *, row_number() OVER (
    PARTITION BY project_id ORDER BY priority DESC, next_attempt_at, id) AS place FROM due
), of_tenant AS (
  SELECT *, row_number() OVER (
    PARTITION BY tenant_id ORDER BY of_project.place, md5(project_id::text || %(now)s::text)
  ) AS turn FROM of_project
)
SELECT id AS task_id, tenant_id, project_id, end_user_id, tenant_cap, project_cap, end_user_cap
FROM of_tenant WHERE turn = 1 OR %(besides)s::uuid[] IS NULL
ORDER BY turn, tenant_id <= %(turn)s, tenant_id LIMIT %(many)s
"""


def find_due(query: DueQuery) -> list[DueTask]:
    """Return the next due tasks in the order in which they should be taken.

    Among a tenant's projects with equal right chance decides, so that no pointer is kept.
    """
    return _find_postgresql(query) if connection.vendor == "postgresql" else _find_sqlite(query)


def find_suspects(*, now: datetime.datetime) -> list[DueTask]:
    """Return the next company of due tasks in quarantine, the least suspect first."""
    suspects = AgentTask.objects.filter(
        status=Status.PENDING,
        next_attempt_at__lte=now,
        crashes__gte=QUARANTINED_AT,
        schema_version__lte=SCHEMA,
        project__in=active_projects(),
    ).order_by("crashes", "next_attempt_at", "id")
    crashes = suspects.values_list("crashes", flat=True).first()
    if crashes is None:
        return []
    together = suspects.filter(crashes=crashes).select_related("project__tenant")
    return [
        _due(task.project, task.pk, task.end_user_id) for task in together[: batch_size(crashes)]
    ]


def _find_postgresql(query: DueQuery) -> list[DueTask]:
    parameters: dict[str, Any] = {
        "now": query.now,
        "turn": query.after_tenant,
        "many": query.limit,
        "besides": None if query.exclude_tenants is None else list(query.exclude_tenants),
        "quarantined": QUARANTINED_AT,
        "schema": SCHEMA,
    }
    with connection.cursor() as cursor:
        cursor.execute(_DUE, parameters)
        names = [column.name for column in cursor.description or ()]
        return [DueTask(**dict(zip(names, row, strict=True))) for row in cursor.fetchall()]


def _find_sqlite(query: DueQuery) -> list[DueTask]:
    projects = {
        each.pk: each for each in _open_projects(exclude_tenants=query.exclude_tenants or ())
    }
    waiting = AgentTask.objects.filter(
        status=Status.PENDING,
        project__in=projects,
        next_attempt_at__lte=query.now,
        crashes__lt=QUARANTINED_AT,
        schema_version__lte=SCHEMA,
    ).exclude(end_user__in=_saturated_users(projects.values()))
    place = Window(
        RowNumber(),
        partition_by=F("project_id"),
        order_by=[F("priority").desc(), F("next_attempt_at").asc(), F("id").asc()],
    )
    rows = waiting.annotate(place=place).order_by("place", "?")
    found = [
        _due(projects[project_id], task_id, end_user_id)
        for task_id, project_id, end_user_id in rows.values_list("id", "project_id", "end_user_id")[
            : query.limit * 16
        ]
    ]
    return _interleave_tenants(found, query)


def _interleave_tenants(found: Sequence[DueTask], query: DueQuery) -> list[DueTask]:
    turns: Counter[uuid.UUID] = Counter()
    placed = []
    for each in found:
        turns[each.tenant_id] += 1
        if query.exclude_tenants is None or turns[each.tenant_id] == 1:
            order = (turns[each.tenant_id], each.tenant_id <= query.after_tenant, each.tenant_id)
            placed.append((order, each))
    placed.sort(key=itemgetter(0))
    return [each for _, each in placed[: query.limit]]


def _open_projects(*, exclude_tenants: Collection[uuid.UUID]) -> list[Project]:
    """Return the projects with waiting tasks of which some may run now, their tenants with them."""
    waiting = AgentTask.objects.filter(status=Status.PENDING).values("project_id")
    projects = active_projects().filter(pk__in=waiting).exclude(tenant__in=exclude_tenants)
    return [
        project
        for project in projects.select_related("tenant")
        if _has_room(project.tenant.limits.get(CONCURRENCY_LIMIT), tenant=project.tenant_id)
        and _has_room(project.limits.get(CONCURRENCY_LIMIT), project=project.pk)
    ]


def _has_room(cap: int | None, **scope: uuid.UUID) -> bool:
    return cap is None or AgentTask.objects.filter(status=Status.RUNNING, **scope).count() < cap


def _saturated_users(projects: Iterable[Project]) -> list[uuid.UUID]:
    """Return the end users who run as many tasks as their project lets each of them."""
    saturated_user: list[uuid.UUID] = []
    for project in projects:
        cap = project.limits.get(USER_CONCURRENCY_LIMIT)
        if cap is not None:
            running = AgentTask.objects.filter(project=project, status=Status.RUNNING)
            counted = running.values("end_user").annotate(many=Count("id")).filter(many__gte=cap)
            saturated_user += counted.values_list("end_user", flat=True)
    return saturated_user


def _due(project: Project, task_id: uuid.UUID, end_user_id: uuid.UUID) -> DueTask:
    return DueTask(
        task_id=task_id,
        tenant_id=project.tenant_id,
        project_id=project.pk,
        end_user_id=end_user_id,
        tenant_cap=project.tenant.limits.get(CONCURRENCY_LIMIT),
        project_cap=project.limits.get(CONCURRENCY_LIMIT),
        end_user_cap=project.limits.get(USER_CONCURRENCY_LIMIT),
    )
