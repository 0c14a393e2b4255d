"""Retention: what is old enough goes, a portion at a time."""

from __future__ import annotations

import datetime

import structlog
from django.db import transaction

from caylex_project.db.server_time import database_now
from caylex_project.integrations.links import prune_links
from skills_app.kept_uploads import drop_old_uploads
from tasks_app.models import AgentTask, BulkOperation, IdempotencyKey, Worker
from tasks_app.states import WorkerState
from tasks_app.worker.maintenance.sweep import try_advisory_lock

EVERY = 60.0  # seconds between looks, when there is nothing more to delete
PAUSE = 1.0  # seconds between portions, when there is
BATCH_SIZE = 200  # tasks of one transaction
MAX_KEYS = 5_000  # idempotency keys of one transaction
KEYS_LIVE = datetime.timedelta(hours=48)
WORKERS_STAY = datetime.timedelta(days=7)
BULK_STAYS = datetime.timedelta(days=7)
_LOCK = 0x0CA71F  # the advisory lock that lets one loop delete at a time

log = structlog.get_logger(__name__)


def delete_expired(*, days: int, now: datetime.datetime | None = None) -> bool:
    """Delete a portion of what is old; True when there may be more.

    One loop at a time; whoever comes second does nothing.
    1. Up to PORTION tasks that ended more than `days` ago, the oldest first, with all that was
       written of them; 0 keeps tasks for ever. One whose row is locked, by a retry perhaps, is
       left for the next time.
    2. Idempotency keys older than two days.
    3. Rows of workers that ended, whose lease ran out more than a week ago, and bulk operations
       that were through by then.
    4. Uploaded skills that were previewed more than an hour ago and never stored.
    5. Visits of auth links, and tasks' links, that ended more than a day ago.
    """
    with transaction.atomic():
        if not try_advisory_lock(_LOCK):
            return False
        moment = now or database_now()
        tasks = _delete_tasks(moment - datetime.timedelta(days=days)) if days else 0
        keys = _delete_idempotency_keys(moment - KEYS_LIVE)
        _delete_workers(moment - WORKERS_STAY)
        BulkOperation.objects.filter(completed_at__lt=moment - BULK_STAYS).delete()
        drop_old_uploads(now=moment)
        prune_links(now=moment)
        return tasks == BATCH_SIZE or keys == MAX_KEYS


def _delete_tasks(before: datetime.datetime) -> int:
    """Delete tasks that ended before then: none that has not ended has a `completed_at`."""
    old = AgentTask.objects.filter(completed_at__lt=before).order_by("completed_at")
    locked = old.select_for_update(skip_locked=True).values_list("pk", flat=True)
    ids = list(locked[:BATCH_SIZE])
    if ids:
        AgentTask.objects.filter(pk__in=ids).delete()
        log.info("retention.deleted", tasks=len(ids), ended_before=before.isoformat())
    return len(ids)


def _delete_idempotency_keys(before: datetime.datetime) -> int:
    old = IdempotencyKey.objects.filter(created_at__lt=before).order_by("created_at")
    ids = list(old.values_list("pk", flat=True)[:MAX_KEYS])
    IdempotencyKey.objects.filter(pk__in=ids).delete()
    return len(ids)


def _delete_workers(before: datetime.datetime) -> None:
    ended = Worker.objects.filter(state__in=[WorkerState.GONE, WorkerState.DEAD])
    ended.filter(lease_until__lt=before, tasks__isnull=True).delete()
