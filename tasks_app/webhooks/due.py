"""The messages that are due, as many as one look can choose from."""

from __future__ import annotations

import datetime
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from django.db import connection
from django.db.models import F, OuterRef, Q, Subquery, Window
from django.db.models.functions import RowNumber

from tasks_app.models import AgentTask, WebhookDelivery
from tasks_app.states import DeliveryState
from tasks_app.webhooks.fair import Lane, Waiting, full_lanes, full_tenants, origin_of

Row = tuple[uuid.UUID, uuid.UUID, str, str]  # its id and tenant, its address and origin

LOOKED_AT = 500  # rows
OF_A_TENANT = 200  # of them, where more are due


def find_due(*, under_way: Collection[Lane], now: datetime.datetime) -> list[Waiting]:
    """Return the due messages: all where they are few, else the next of each tenant.

    Where they are many, tenants and origins that get no further place are left out, so that a
    hundred thousand messages for a dead receiver hide none behind them.
    """
    due = WebhookDelivery.objects.due(now).order_by("next_attempt_at")
    ids = list(due.values_list("pk", flat=True)[: LOOKED_AT + 1])
    if len(ids) <= LOOKED_AT:
        enabled = WebhookDelivery.objects.filter(
            pk__in=ids, task__project__disabled_at=None, task__tenant__disabled_at=None
        )
        rows = enabled.order_by("next_attempt_at")
        return _waiting(rows.values_list("id", "task__tenant_id", "url", "origin"))
    _write_projects()
    look = _postgresql if connection.vendor == "postgresql" else _sqlite
    return _waiting(look(under_way=under_way, now=now), many=True)


def write_origins(rows: Iterable[Waiting]) -> None:
    """Keep the origins of rows, in a transaction; one that another has locked stays as it is."""
    of_origin: dict[str, list[uuid.UUID]] = defaultdict(list)
    for each in rows:
        of_origin[each.lane.origin].append(each.id)
    for origin, ids in of_origin.items():
        locked = WebhookDelivery.objects.filter(pk__in=ids).select_for_update(skip_locked=True)
        free = list(locked.values_list("pk", flat=True))
        WebhookDelivery.objects.filter(pk__in=free).update(origin=origin)


def _write_projects() -> None:
    """Give the rows that an older version wrote the project that they lack."""
    older = WebhookDelivery.objects.filter(state=DeliveryState.WAITING, project=None)
    project = AgentTask.objects.filter(pk=OuterRef("task_id")).values("project_id")
    if older.exists():
        older.update(project_id=Subquery(project))


# A lane is what waits in one project for one origin, or for those that no row says yet. Its first
# message is one look into the index, and so is the next lane: the cost goes with the lanes. Rows
# are compared as a whole: with plain equality the planner may walk through what is due of others.
_NEXT = """
WITH RECURSIVE lane AS (
  (SELECT project_id, origin FROM tasks_app_webhookdelivery
   WHERE state = 'waiting' AND project_id IS NOT NULL ORDER BY project_id, origin LIMIT 1)
  UNION ALL
  SELECT next.project_id, next.origin FROM lane CROSS JOIN LATERAL (
    SELECT project_id, origin FROM tasks_app_webhookdelivery
    WHERE state = 'waiting' AND (project_id, origin) > (lane.project_id, lane.origin)
    ORDER BY project_id, origin LIMIT 1
  ) next
), open AS (
  SELECT lane.project_id, lane.origin, project.tenant_id
  FROM lane JOIN accounts_project project ON project.id = lane.project_id
  JOIN accounts_tenant tenant ON tenant.id = project.tenant_id
  WHERE project.disabled_at IS NULL AND tenant.disabled_at IS NULL
    AND tenant.id <> ALL (%(full_tenants)s::uuid[])
    AND (tenant.id, lane.origin) NOT IN (
      SELECT * FROM unnest(%(tenants)s::uuid[], %(origins)s::text[]))
)
SELECT next.id, open.tenant_id, next.url, next.origin
FROM open CROSS JOIN LATERAL (
  SELECT id, url, origin, next_attempt_at FROM tasks_app_webhookdelivery
  WHERE state = 'waiting'
    AND (project_id, origin, next_attempt_at) >= (open.project_id, open.origin, '-infinity')
    AND (project_id, origin, next_attempt_at) <= (open.project_id, open.origin, %(now)s)
  ORDER BY project_id, origin, next_attempt_at LIMIT %(of_a_lane)s
) next
ORDER BY row_number() OVER (PARTITION BY open.tenant_id ORDER BY next.next_attempt_at), random()
LIMIT %(looked_at)s
"""


def _postgresql(*, under_way: Collection[Lane], now: datetime.datetime) -> list[Row]:
    full = full_lanes(under_way)
    parameters: dict[str, Any] = {
        "now": now,
        "full_tenants": full_tenants(under_way),
        "tenants": [lane.tenant_id for lane in full],
        "origins": [lane.origin for lane in full],
        "of_a_lane": OF_A_TENANT,
        "looked_at": LOOKED_AT,
    }
    with connection.cursor() as cursor:
        cursor.execute(_NEXT, parameters)
        return list(cursor.fetchall())


def _sqlite(*, under_way: Collection[Lane], now: datetime.datetime) -> list[Row]:
    full = Q(project__tenant__in=full_tenants(under_way))
    for lane in full_lanes(under_way):
        full |= Q(project__tenant=lane.tenant_id, origin=lane.origin)
    place = Window(
        RowNumber(), partition_by=F("project__tenant_id"), order_by=F("next_attempt_at").asc()
    )
    due = WebhookDelivery.objects.due(now).filter(
        project__isnull=False, project__disabled_at=None, project__tenant__disabled_at=None
    )
    placed = due.exclude(full).annotate(place=place).filter(place__lte=OF_A_TENANT)
    rows = placed.order_by("place", "?")[:LOOKED_AT]
    return list(rows.values_list("id", "project__tenant_id", "url", "origin"))


def _waiting(rows: Iterable[Row], *, many: bool = False) -> list[Waiting]:
    return [
        Waiting(id=pk, lane=Lane(tenant_id, origin or origin_of(url)), unmarked=many and not origin)
        for pk, tenant_id, url, origin in rows
    ]
