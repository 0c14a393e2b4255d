"""Claiming: take due tasks out of the rows, fairly over tenants."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from caylex_project.db.server_time import database_now
from tasks_app.models import AgentTask, Event, Worker
from tasks_app.states import Status, WorkerState
from tasks_app.worker.claiming.concurrency import apply_concurrency_limits
from tasks_app.worker.claiming.due import DueQuery, find_due, find_suspects

CLAIM_BATCH = 16  # tasks in the first claim, so that the workers share what is due
MAX_CLAIM_BATCH = 128  # where claims come back full, each takes twice as many as the one before


class LeaseLost(Exception):
    """This worker may not claim: its row is gone, dead, or its lease has run out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to write one task of a tenant: its id and the number of this ownership."""

    task_id: uuid.UUID
    epoch: int
    tenant_id: uuid.UUID


_CLAIM = """
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

_LEASE = "SELECT lease_until FROM tasks_app_worker WHERE id = %s AND state = 'alive' FOR KEY SHARE"


def claim_due(
    *,
    worker_id: uuid.UUID,
    limit: int,
    after_tenant: uuid.UUID,
    exclude_tenants: Collection[uuid.UUID] | None = None,
    now: datetime.datetime | None = None,
) -> tuple[list[Claim], uuid.UUID]:
    """Claim up to `limit` due tasks for a worker; return them and the tenant served last.

    With `besides`, one task for each tenant that is not among these. Tasks in quarantine are not
    among them: see `claim_quarantined`.

    1. Lock the worker's own row: alive, and within its lease by the database's clock. A worker
       that slept through its lease is refused here. Raises LeaseLost.
    2. Look at the next due tasks of each tenant, first places first, tenants after `turn`
       before the others, so that one tenant's ten thousand do not starve another's one.
    3. Leave out those for which a limited tenant, project or user has no room, its row locked.
    4. Take them, skipping what another worker is taking: RUNNING, epoch + 1.
    """
    with transaction.atomic():
        moment = _lock_worker(worker_id, now)
        # Look a little further than we take: the first may be under another worker's lock.
        look = DueQuery(
            limit=limit * 4, after_tenant=after_tenant, now=moment, exclude_tenants=exclude_tenants
        )
        due = apply_concurrency_limits(find_due(look))
        claims = _claim([each.task_id for each in due], worker_id, limit, moment)
    return claims, claims[-1].tenant_id if claims else after_tenant


def claim_quarantined(*, worker_id: uuid.UUID, now: datetime.datetime | None = None) -> list[Claim]:
    """Claim the next company of tasks that may be what kills workers; the least suspect first.

    For a worker that holds nothing. Raises LeaseLost.
    """
    with transaction.atomic():
        moment = _lock_worker(worker_id, now)
        due = apply_concurrency_limits(find_suspects(now=moment))
        return _claim([each.task_id for each in due], worker_id, len(due), moment)


def claims_of(*, worker_id: uuid.UUID) -> list[Claim]:
    """Return what a worker holds by the rows: it may not have heard of its last claim."""
    held = AgentTask.objects.filter(worker=worker_id, status=Status.RUNNING)
    return [
        Claim(task_id=task_id, epoch=epoch, tenant_id=tenant_id)
        for task_id, epoch, tenant_id in held.values_list("id", "epoch", "tenant_id")
    ]


def cancel_requests(*, worker_id: uuid.UUID) -> list[tuple[uuid.UUID, str]]:
    """Return the tasks of a worker that were asked to stop, each with the reason."""
    asked = AgentTask.objects.filter(
        worker=worker_id, cancel_requested_at__isnull=False, completed_at__isnull=True
    )
    return list(asked.values_list("id", "cancel_reason"))


def _lock_worker(worker_id: uuid.UUID, now: datetime.datetime | None) -> datetime.datetime:
    """Keep the worker from being declared dead until the transaction ends; return the time.

    A worker is declared dead under FOR UPDATE, which FOR KEY SHARE keeps out. It lets the heartbeat
    renew the lease: a claim that waits for another lock must not end its worker.
    """
    lease_until = _lock_lease(worker_id)
    moment = now or database_now()
    if lease_until is None or lease_until <= moment:
        raise LeaseLost(str(worker_id))
    return moment


def _lock_lease(worker_id: uuid.UUID) -> datetime.datetime | None:
    """Return until when a worker that is alive has its lease."""
    if not _postgresql():  # the transaction has locked everything
        alive = Worker.objects.filter(pk=worker_id, state=WorkerState.ALIVE)
        return alive.values_list("lease_until", flat=True).first()
    with connection.cursor() as cursor:
        cursor.execute(_LEASE, [worker_id])
        found = cursor.fetchone()
    return found[0] if found else None


def _postgresql() -> bool:
    return connection.vendor == "postgresql"


def _claim(
    ids: list[uuid.UUID], worker_id: uuid.UUID, limit: int, now: datetime.datetime
) -> list[Claim]:
    """Make the first of these tasks the worker's own, skipping what others are taking."""
    if not ids:
        return []
    if not _postgresql():
        return [_claim_sqlite(task_id, worker_id, now) for task_id in ids[:limit]]
    parameters: dict[str, Any] = {"ids": ids, "worker": worker_id, "limit": limit, "now": now}
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, parameters)
        taken = [
            Claim(task_id=task_id, epoch=epoch, tenant_id=tenant_id)
            for task_id, epoch, tenant_id in cursor.fetchall()
        ]
    return sorted(taken, key=lambda claim: ids.index(claim.task_id))


def _claim_sqlite(task_id: uuid.UUID, worker_id: uuid.UUID, now: datetime.datetime) -> Claim:
    task = AgentTask.objects.only("epoch", "sequence", "started_at", "tenant_id").get(pk=task_id)
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
    return Claim(task_id=task_id, epoch=epoch, tenant_id=task.tenant_id)
