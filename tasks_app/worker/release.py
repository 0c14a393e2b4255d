"""Taking tasks off a worker, all at once: it died, or it ends and hands them back."""

from __future__ import annotations

import datetime
import uuid

from django.db import transaction
from django.db.models import F

from tasks_app.models import AgentTask, Event, Worker
from tasks_app.states import Status, WorkerState
from tasks_app.stopping import end_failed
from tasks_app.worker.quarantine import FATAL, FATAL_AT


def end_worker(
    *, worker_id: uuid.UUID, state: WorkerState, now: datetime.datetime
) -> list[uuid.UUID]:
    """End a worker and free the tasks that it still holds, in one transaction.

    `state` is GONE when the worker does it itself, in good order: nothing is charged. DEAD when
    others declare it: each task counts one crash. Every freed task is PENDING, due now, with
    epoch + 1, so whatever the old owner still writes is refused. Returns the tasks' ids; ends
    without effect when the worker had ended already.
    """
    with transaction.atomic():
        living = Worker.objects.select_for_update().filter(
            pk=worker_id, state__in=[WorkerState.ALIVE, WorkerState.DRAINING]
        )
        if living.first() is None:
            return []
        Worker.objects.filter(pk=worker_id).update(state=state, held=0)
        return free_tasks(worker_id=worker_id, crashed=state == WorkerState.DEAD, now=now)


def free_tasks(*, worker_id: uuid.UUID, crashed: bool, now: datetime.datetime) -> list[uuid.UUID]:
    """Free what a worker holds; the caller holds the lock on the worker's row."""
    held = AgentTask.objects.filter(worker=worker_id, status=Status.RUNNING).order_by("id")
    tasks = list(held.select_for_update().values_list("id", "sequence"))
    AgentTask.objects.filter(pk__in=[task_id for task_id, _ in tasks]).update(
        status=Status.PENDING,
        worker=None,
        epoch=F("epoch") + 1,
        sequence=F("sequence") + 1,
        crashes=F("crashes") + int(crashed),
        next_attempt_at=now,
    )
    Event.objects.bulk_create(
        Event(
            task_id=task_id,
            sequence=sequence + 1,
            kind="taken_over" if crashed else "handed_back",
            data={"worker": str(worker_id)},
            at=now,
        )
        for task_id, sequence in tasks
    )
    if crashed:
        _give_up_fatal([task_id for task_id, _ in tasks], now)
    return [task_id for task_id, _ in tasks]


def _give_up_fatal(task_ids: list[uuid.UUID], now: datetime.datetime) -> None:
    """Fail the tasks that ended their worker too often while they ran alone."""
    for task in AgentTask.objects.filter(pk__in=task_ids, crashes__gte=FATAL_AT):
        end_failed(task, error=FATAL, now=now)
