"""Claiming: take due tasks out of the rows, fairly over tenants."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Window
from django.db.models.functions import RowNumber

from tasks_app.models import AgentTask, Event, Worker
from tasks_app.states import Status, WorkerState

SLICE = 16  # tasks in one claim, so that the workers share what is due


class LeaseLost(Exception):
    """This worker may not claim: its row is gone, dead, or its lease has run out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to write one task: its id and the number of this ownership."""

    task_id: uuid.UUID
    epoch: int


_DUE = """
SELECT due.id FROM accounts_tenant tenant CROSS JOIN LATERAL (
  SELECT next.id, row_number() OVER (ORDER BY next.next_attempt_at, next.id) AS place FROM (
    SELECT id, next_attempt_at FROM tasks_app_agenttask
    WHERE tenant_id = tenant.id AND status = 'PENDING' AND next_attempt_at <= %(now)s
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
  RETURNING task.id, task.epoch, task.sequence, task.tenant_id
), told AS (
  INSERT INTO tasks_app_event (task_id, sequence, kind, data, at)
  SELECT id, sequence, CASE WHEN epoch = 1 THEN 'started' ELSE 'resumed' END,
         jsonb_build_object('epoch', epoch, 'worker', %(worker)s::text), %(now)s
  FROM claimed
)
SELECT id, epoch, tenant_id FROM claimed
"""


def claim_due(
    *, worker_id: uuid.UUID, limit: int, turn: uuid.UUID, now: datetime.datetime | None = None
) -> tuple[list[Claim], uuid.UUID]:
    """Claim up to `limit` due tasks for a worker; return them and the tenant served last.

    1. Lock the worker's own row: alive, and within its lease by the database's clock. A worker
       that slept through its lease is refused here. Raises LeaseLost.
    2. Look at the next due tasks of each tenant, first places first, tenants after `turn`
       before the others, so that one tenant's ten thousand do not starve another's one.
    3. Take them, skipping what another worker is taking: RUNNING, epoch + 1.
    """
    with transaction.atomic():
        moment = _lock_worker(worker_id, now)
        if connection.vendor == "postgresql":
            return _claim_postgresql(worker_id, limit, turn, moment)
        return _claim_sqlite(worker_id, limit, turn, moment)


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


def _claim_postgresql(
    worker_id: uuid.UUID, limit: int, turn: uuid.UUID, now: datetime.datetime
) -> tuple[list[Claim], uuid.UUID]:
    parameters: dict[str, Any] = {"now": now, "worker": worker_id, "turn": turn, "limit": limit}
    with connection.cursor() as cursor:
        # Look a little further than we take: the first may be under another worker's lock.
        cursor.execute(_DUE, {**parameters, "many": limit * 4})
        ids = [row[0] for row in cursor.fetchall()]
        if not ids:
            return [], turn
        order = {task_id: place for place, task_id in enumerate(ids)}
        cursor.execute(_TAKE, {**parameters, "ids": ids})
        taken = sorted(cursor.fetchall(), key=lambda row: order[row[0]])
    claims = [Claim(task_id=row[0], epoch=row[1]) for row in taken]
    return claims, taken[-1][2] if taken else turn


def _claim_sqlite(
    worker_id: uuid.UUID, limit: int, turn: uuid.UUID, now: datetime.datetime
) -> tuple[list[Claim], uuid.UUID]:
    place = Window(
        RowNumber(),
        partition_by=F("tenant_id"),
        order_by=[F("next_attempt_at").asc(), F("id").asc()],
    )
    due: Sequence[tuple[uuid.UUID, uuid.UUID, int]] = list(
        AgentTask.objects.filter(status=Status.PENDING, next_attempt_at__lte=now)
        .annotate(place=place)
        .values_list("id", "tenant_id", "place")
        .order_by("place")[: limit * 64]
    )
    due = sorted(due, key=lambda row: (row[2], row[1] <= turn, row[1]))[:limit]
    claims = []
    for task_id, tenant_id, _ in due:
        claims.append(_take_sqlite(task_id, worker_id, now))
        turn = tenant_id
    return claims, turn


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
