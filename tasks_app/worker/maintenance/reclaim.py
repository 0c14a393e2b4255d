"""Taking tasks off a worker: it died, it ends and hands them back, or one of them broke."""

from __future__ import annotations

import datetime
import uuid

from django.db import transaction
from django.db.models import F

from tasks_app.failures import FATAL
from tasks_app.models import AgentTask, Event, Worker
from tasks_app.notifications.changes import publish_changes
from tasks_app.operations.terminate import end_failed
from tasks_app.states import Status, WorkerState
from tasks_app.worker.claiming.claim import Claim
from tasks_app.worker.claiming.quarantine import FATAL_AT
from tasks_app.worker.journal.outcomes import after_crash


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
    publish_changes(task_id for task_id, _ in tasks)
    if crashed:
        _give_up_fatal([task_id for task_id, _ in tasks], now)
    return [task_id for task_id, _ in tasks]


def _give_up_fatal(task_ids: list[uuid.UUID], now: datetime.datetime) -> None:
    """Fail the tasks that ended their worker too often while they ran alone."""
    for task in AgentTask.objects.filter(pk__in=task_ids, crashes__gte=FATAL_AT):
        end_failed(task, error=FATAL, now=now)


def free_broken(*, claim: Claim, max_attempts: int, now: datetime.datetime) -> None:
    """Let a task go whose driving broke: try again later, or give it up after `max_attempts`.

    Looks at the task's own row alone, so that what broke cannot break this too. Without effect
    when the task is no longer ours, hence safe to repeat.
    """
    with transaction.atomic():
        locked = AgentTask.objects.select_for_update(no_key=True)
        task = locked.filter(pk=claim.task_id, epoch=claim.epoch, status=Status.RUNNING).first()
        if task is None:
            return
        task.attempt += 1
        release = after_crash(attempt=task.attempt, max_attempts=max_attempts)
        if release.error is not None:
            task.save(update_fields=["attempt"])
            end_failed(task, error=release.error, now=now)
            return
        AgentTask.objects.filter(pk=task.pk).update(
            status=release.status,
            worker=None,
            epoch=F("epoch") + 1,
            sequence=F("sequence") + 1,
            attempt=task.attempt,
            waiting_reason=release.reason,
            next_attempt_at=now + datetime.timedelta(seconds=release.wait or 0.0),
        )
        Event.objects.create(
            task=task,
            sequence=task.sequence + 1,
            kind=release.event,
            data={"status": release.status.value, "reason": release.reason},
            at=now,
        )
        publish_changes([task.pk])
