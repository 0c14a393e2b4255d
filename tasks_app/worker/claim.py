"""Claiming: take due tasks out of the rows, fairly over tenants."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Window
from django.db.models.functions import RowNumber

from tasks_app.models import SCHEMA, AgentTask, Event, Worker
from tasks_app.states import Status, WorkerState
from tasks_app.worker.quarantine import QUARANTINED_AT, company

SLICE = 16  # tasks in the first claim, so that the workers share what is due
MOST_SLICE = 64  # where claims come back full, each takes twice as many as the one before


class LeaseLost(Exception):
    """This worker may not claim: its row is gone, dead, or its lease has run out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to write one task: its id and the number of this ownership."""

    task_id: uuid.UUID
    epoch: int


_DUE = """
SELECT due.id, tenant.id FROM accounts_tenant tenant CROSS JOIN LATERAL (
  SELECT next.id, row_number() OVER (ORDER BY next.next_attempt_at, next.id) AS place FROM (
    SELECT id, next_attempt_at FROM tasks_app_agenttask
    WHERE tenant_id = tenant.id AND status = 'PENDING' AND next_attempt_at <= %(now)s
      AND crashes < %(quarantined)s AND schema_version <= %(schema)s
    ORDER BY next_attempt_at, id LIMIT %(many)s
  ) next
) due
ORDER BY due.place, tenant.id <= %(turn)s, tenant.id LIMIT %(many)s
"""

_TAKE = """
WITH taken AS (
  SELECT id FROM tasks_app_agenttask
  WHERE id = ANY(%(ids)s) AND status = 'PENDING' AND next_attempt_at <= %(now)s
  ORDER BY array_position(%(ids)s, id) LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), claimed AS (
  UPDATE tasks_app_agenttask task SET
    status = 'RUNNING', worker_id = %(worker)s, epoch = epoch + 1, sequence = sequence + 1,
    waiting_reason = '', started_at = COALESCE(started_at, %(now)s)
  FROM taken WHERE task.id = taken.id
  RETURNING task.id, task.epoch, task.sequence
), told AS (
  INSERT INTO tasks_app_event (task_id, sequence, kind, data, at)
  SELECT id, sequence, CASE WHEN epoch = 1 THEN 'started' ELSE 'resumed' END,
         jsonb_build_object('epoch', epoch, 'worker', %(worker)s::text), %(now)s
  FROM claimed
)
SELECT id, epoch FROM claimed
"""


def claim_due(
    *, worker_id: uuid.UUID, limit: int, turn: uuid.UUID, now: datetime.datetime | None = None
) -> tuple[list[Claim], uuid.UUID]:
    """Claim up to `limit` due tasks for a worker; return them and the tenant served last.

    Tasks in quarantine are not among them: see `claim_quarantined`.

    1. Lock the worker's own row: alive, and within its lease by the database's clock. A worker
       that slept through its lease is refused here. Raises LeaseLost.
    2. Look at the next due tasks of each tenant, first places first, tenants after `turn`
       before the others, so that one tenant's ten thousand do not starve another's one.
    3. Take them, skipping what another worker is taking: RUNNING, epoch + 1.
    """
    with transaction.atomic():
        moment = _lock_worker(worker_id, now)
        due = _due_postgresql if _postgresql() else _due_sqlite
        # Look a little further than we take: the first may be under another worker's lock.
        tenants = due(limit * 4, turn, moment)
        claims = _take(list(tenants), worker_id, limit, moment)
    return claims, tenants[claims[-1].task_id] if claims else turn


def claim_quarantined(*, worker_id: uuid.UUID, now: datetime.datetime | None = None) -> list[Claim]:
    """Claim the next company of tasks that may be what kills workers; the least suspect first.

    For a worker that holds nothing. Raises LeaseLost.
    """
    with transaction.atomic():
        moment = _lock_worker(worker_id, now)
        suspects = AgentTask.objects.filter(
            status=Status.PENDING,
            next_attempt_at__lte=moment,
            crashes__gte=QUARANTINED_AT,
            schema_version__lte=SCHEMA,
        ).order_by("crashes", "next_attempt_at", "id")
        crashes = suspects.values_list("crashes", flat=True).first()
        if crashes is None:
            return []
        many = company(crashes)
        ids = list(suspects.filter(crashes=crashes).values_list("id", flat=True)[:many])
        return _take(ids, worker_id, many, moment)


def claims_of(*, worker_id: uuid.UUID) -> list[Claim]:
    """Return what a worker holds by the rows: it may not have heard of its last claim."""
    held = AgentTask.objects.filter(worker=worker_id, status=Status.RUNNING)
    return [
        Claim(task_id=task_id, epoch=epoch) for task_id, epoch in held.values_list("id", "epoch")
    ]


def cancel_requests(*, worker_id: uuid.UUID) -> list[tuple[uuid.UUID, str]]:
    """Return the tasks of a worker that were asked to stop, each with the reason."""
    asked = AgentTask.objects.filter(
        worker=worker_id, cancel_requested_at__isnull=False, completed_at__isnull=True
    )
    return list(asked.values_list("id", "cancel_reason"))


def database_now() -> datetime.datetime:
    """Return the database's clock: leases are compared by no other."""
    if connection.vendor != "postgresql":  # one machine, one clock
        return datetime.datetime.now(datetime.UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime.datetime = cursor.fetchone()[0]
        return moment


def _lock_worker(worker_id: uuid.UUID, now: datetime.datetime | None) -> datetime.datetime:
    locked = Worker.objects.select_for_update(no_key=True) if _postgresql() else Worker.objects
    row = locked.filter(pk=worker_id, state=WorkerState.ALIVE).first()
    moment = now or database_now()
    if row is None or row.lease_until <= moment:
        raise LeaseLost(str(worker_id))
    return moment


def _postgresql() -> bool:
    return connection.vendor == "postgresql"


def _due_postgresql(
    many: int, turn: uuid.UUID, now: datetime.datetime
) -> dict[uuid.UUID, uuid.UUID]:
    """Return due tasks in the order in which they should be taken, each with its tenant."""
    parameters: dict[str, Any] = {
        "now": now,
        "turn": turn,
        "many": many,
        "quarantined": QUARANTINED_AT,
        "schema": SCHEMA,
    }
    with connection.cursor() as cursor:
        cursor.execute(_DUE, parameters)
        return dict(cursor.fetchall())


def _due_sqlite(many: int, turn: uuid.UUID, now: datetime.datetime) -> dict[uuid.UUID, uuid.UUID]:
    place = Window(
        RowNumber(),
        partition_by=F("tenant_id"),
        order_by=[F("next_attempt_at").asc(), F("id").asc()],
    )
    first_places = (
        AgentTask.objects.filter(
            status=Status.PENDING,
            next_attempt_at__lte=now,
            crashes__lt=QUARANTINED_AT,
            schema_version__lte=SCHEMA,
        )
        .annotate(place=place)
        .values_list("id", "tenant_id", "place")
        .order_by("place")[: many * 16]
    )
    due = sorted(first_places, key=lambda row: (row[2], row[1] <= turn, row[1]))
    return {task_id: tenant_id for task_id, tenant_id, _ in due[:many]}


def _take(
    ids: list[uuid.UUID], worker_id: uuid.UUID, limit: int, now: datetime.datetime
) -> list[Claim]:
    """Make the first of these tasks the worker's own, skipping what others are taking."""
    if not ids:
        return []
    if not _postgresql():
        return [_take_sqlite(task_id, worker_id, now) for task_id in ids[:limit]]
    parameters: dict[str, Any] = {"ids": ids, "worker": worker_id, "limit": limit, "now": now}
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, parameters)
        taken = [Claim(task_id=task_id, epoch=epoch) for task_id, epoch in cursor.fetchall()]
    return sorted(taken, key=lambda claim: ids.index(claim.task_id))


def _take_sqlite(task_id: uuid.UUID, worker_id: uuid.UUID, now: datetime.datetime) -> Claim:
    task = AgentTask.objects.only("epoch", "sequence", "started_at").get(pk=task_id)
    epoch, sequence = task.epoch + 1, task.sequence + 1
    AgentTask.objects.filter(pk=task_id).update(
        status=Status.RUNNING,
        worker=worker_id,
        epoch=epoch,
        sequence=sequence,
        waiting_reason="",
        started_at=task.started_at or now,
    )
    Event.objects.create(
        task_id=task_id,
        sequence=sequence,
        kind="started" if epoch == 1 else "resumed",
        data={"epoch": epoch, "worker": str(worker_id)},
        at=now,
    )
    return Claim(task_id=task_id, epoch=epoch)
