"""The sweep: what must be true of the rows, made true again every two seconds."""

from __future__ import annotations

import datetime
import uuid

import structlog
from django.db import connection, transaction

from caylex_project.db.server_time import database_now
from tasks_app.models import SCHEMA, AgentTask, Worker
from tasks_app.operations.terminate import end_cancelled
from tasks_app.states import Status, WorkerState
from tasks_app.worker.maintenance.reclaim import end_worker, free_tasks
from tasks_app.worker.process.identity import is_dead_process

EVERY = 2.0  # seconds
CANCEL_SECONDS = datetime.timedelta(seconds=2)  # what an owner has to end a cancelled task
_LOCK = 0x0CA71E  # the advisory lock that lets one loop sweep at a time

log = structlog.get_logger(__name__)


def sweep(*, now: datetime.datetime | None = None) -> int:
    """Bury dead workers and free their tasks; return how many tasks became free.

    One loop at a time; whoever comes second does nothing.
    1. A worker of this machine whose process has ended is dead, whatever its lease says.
    2. A worker whose lease has run out, by the database's clock, is dead.
    3. A RUNNING task that an ended worker still holds is freed.
    4. A task that was asked to stop and whose owner did not end it in time is ended here.
    """
    with transaction.atomic():
        if not try_advisory_lock(_LOCK):
            return 0
        moment = now or database_now()
        freed = 0
        for worker_id, why in _expired_workers(moment):
            tasks = end_worker(worker_id=worker_id, state=WorkerState.DEAD, now=moment)
            log.warning("worker.declared_dead", worker=str(worker_id), why=why, tasks=len(tasks))
            freed += len(tasks)
        freed += _free_orphaned(moment)
        _end_cancelled(moment)
        return freed


def try_advisory_lock(lock: int) -> bool:
    """Take an advisory lock until the transaction ends; False where another holds it."""
    if connection.vendor != "postgresql":
        return True  # every transaction is immediate: there is one writer
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [lock])
        return bool(cursor.fetchone()[0])


def _expired_workers(now: datetime.datetime) -> list[tuple[uuid.UUID, str]]:
    """Lock and return the workers to bury, each with the reason."""
    found = []
    for worker in Worker.objects.filter(state__in=[WorkerState.ALIVE, WorkerState.DRAINING]):
        if is_dead_process(machine=worker.machine, pid=worker.pid, pid_started=worker.pid_started):
            found.append((worker, "its process has ended"))
        elif worker.lease_until <= now:
            found.append((worker, "its lease ran out"))
    return [(worker.id, why) for worker, why in found if _lock(worker)]


def _lock(worker: Worker) -> bool:
    """Lock a worker's row; False when it renewed its lease after all, or holds the row itself.

    Not waiting: one that is frozen in the middle of a claim must not hold up the burial of the
    others. Its turn comes when its session ends.
    """
    lockable = Worker.objects.select_for_update(skip_locked=True)
    return lockable.filter(pk=worker.pk, lease_until=worker.lease_until).first() is not None


def _free_orphaned(now: datetime.datetime) -> int:
    orphaned = (
        AgentTask.objects.filter(status=Status.RUNNING)
        .exclude(worker__state__in=[WorkerState.ALIVE, WorkerState.DRAINING])
        .values_list("worker", flat=True)
        .distinct()
    )
    freed = 0
    for worker_id in list(orphaned):
        if worker_id is not None:
            list(Worker.objects.select_for_update().filter(pk=worker_id))
            freed += len(free_tasks(worker_id=worker_id, crashed=True, now=now))
    return freed


def _end_cancelled(now: datetime.datetime) -> None:
    overdue = AgentTask.objects.filter(
        cancel_requested_at__lte=now - CANCEL_SECONDS,
        completed_at__isnull=True,
        schema_version__lte=SCHEMA,
    )
    for task in overdue.select_for_update().order_by("id"):
        log.warning("sweep.cancelled", task=str(task.id), status=task.status)
        end_cancelled(task, now=now)
