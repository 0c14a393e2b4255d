"""One worker that stands in the way must not keep the sweep from burying the others."""

import datetime
import threading

import pytest
from django.db import connection, transaction
from django.utils import timezone

from tasks_app.models import AgentTask, Worker
from tasks_app.states import Status, WorkerState
from tasks_app.worker.maintenance.sweep import sweep
from tests.support.engine_rows import a_task, a_worker, claim_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]


def held_by(worker: Worker) -> AgentTask:
    task = a_task()
    claim_all(worker)
    task.refresh_from_db()
    assert task.worker_id == worker.id
    return task


def test_a_worker_frozen_in_its_claim_does_not_stop_the_sweep() -> None:
    frozen, dead = a_worker(), a_worker()
    task = held_by(dead)
    locked, done = threading.Event(), threading.Event()
    freed: list[int] = []

    def freeze() -> None:
        with transaction.atomic():
            list(Worker.objects.select_for_update(no_key=True).filter(pk=frozen.pk))
            locked.set()
            done.wait(20.0)
        connection.close()

    def bury() -> None:
        freed.append(sweep(now=timezone.now() + datetime.timedelta(seconds=60)))
        connection.close()

    freezing, burying = threading.Thread(target=freeze), threading.Thread(target=bury)
    freezing.start()
    locked.wait(5.0)
    burying.start()
    burying.join(3.0)
    hung = burying.is_alive()
    done.set()
    freezing.join()
    burying.join()
    assert not hung, "the sweep waits for a lock, and holds off the sweeps of all others"
    assert freed == [1]
    task.refresh_from_db()
    frozen.refresh_from_db()
    assert (task.status, frozen.state) == (Status.PENDING, WorkerState.ALIVE)
    assert sweep(now=timezone.now() + datetime.timedelta(seconds=60)) == 0
    frozen.refresh_from_db()
    assert frozen.state == WorkerState.DEAD, "buried as soon as it lets go"
