"""The sweep: dead workers are buried, their tasks go on elsewhere, the living are left alone."""

import datetime
import subprocess
import sys
import threading

import pytest
from django.db import connection, transaction
from django.utils import timezone

from tasks_app.models import AgentTask, Event, Worker
from tasks_app.states import Status, WorkerState
from tasks_app.worker.claiming.claim import LeaseLost
from tasks_app.worker.maintenance.reclaim import end_worker
from tasks_app.worker.maintenance.sweep import sweep
from tasks_app.worker.process.identity import this_process
from tasks_app.worker.process.lease import Heartbeat, register, renew
from tests.support.engine_rows import a_task, a_worker, claim_all

pytestmark = pytest.mark.django_db(transaction=True)


def held_task(worker: Worker) -> AgentTask:
    task = a_task()
    claim_all(worker)
    task.refresh_from_db()
    assert task.worker_id == worker.id
    return task


def test_a_living_worker_is_left_alone() -> None:
    worker = a_worker()
    task = held_task(worker)
    assert sweep() == 0
    task.refresh_from_db()
    assert (task.status, task.epoch) == (Status.RUNNING, 1)


def test_a_lease_that_ran_out_frees_the_tasks_and_charges_a_crash() -> None:
    worker = a_worker()
    task = held_task(worker)
    later = timezone.now() + datetime.timedelta(seconds=31)
    assert sweep(now=later) == 1
    worker.refresh_from_db()
    task.refresh_from_db()
    assert worker.state == WorkerState.DEAD
    assert (task.status, task.worker_id, task.epoch, task.crashes) == (
        Status.PENDING,
        None,
        2,
        1,
    )
    assert Event.objects.get(kind="taken_over").sequence == task.sequence == 2


def test_a_process_of_this_machine_that_ended_is_buried_whatever_its_lease_says() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    me = this_process()
    stat = f"/proc/{child.pid}/stat"
    with open(stat) as file:
        started = file.read().rpartition(")")[2].split()[19]
    worker = a_worker()
    Worker.objects.filter(pk=worker.pk).update(
        machine=me.machine, pid=child.pid, pid_started=started
    )
    task = held_task(worker)
    assert sweep() == 0
    child.communicate(b"\n")
    assert sweep() == 1
    task.refresh_from_db()
    assert task.status == Status.PENDING


def test_the_same_pid_in_another_container_is_not_a_corpse() -> None:
    worker = a_worker()  # pid 1 of another machine
    held_task(worker)
    assert sweep() == 0


def test_a_running_task_that_an_ended_worker_still_holds_is_freed() -> None:
    worker = a_worker()
    task = held_task(worker)
    Worker.objects.filter(pk=worker.pk).update(state=WorkerState.GONE)
    assert sweep() == 1
    task.refresh_from_db()
    assert (task.status, task.epoch) == (Status.PENDING, 2)


def test_a_worker_that_ends_in_good_order_hands_back_without_a_charge() -> None:
    worker = a_worker()
    task = held_task(worker)
    assert end_worker(worker_id=worker.id, state=WorkerState.GONE, now=timezone.now()) == [task.id]
    task.refresh_from_db()
    assert (task.status, task.crashes) == (Status.PENDING, 0)
    assert end_worker(worker_id=worker.id, state=WorkerState.DEAD, now=timezone.now()) == []


def test_a_worker_that_was_buried_can_neither_renew_nor_claim() -> None:
    worker = a_worker()
    end_worker(worker_id=worker.id, state=WorkerState.DEAD, now=timezone.now())
    a_task()
    assert renew(worker_id=worker.id, lease_seconds=30, held=0) is False
    with pytest.raises(LeaseLost):
        claim_all(worker)


def test_a_registered_worker_holds_a_lease_by_the_databases_clock() -> None:
    worker = Worker.objects.get(pk=register(capacity=5, lease_seconds=30))
    me = this_process()
    assert (worker.host, worker.pid, worker.pid_started) == (me.host, me.pid, me.pid_started)
    left = (worker.lease_until - timezone.now()).total_seconds()
    assert 28 < left <= 31
    Worker.objects.update(lease_until=timezone.now())
    assert renew(worker_id=worker.id, lease_seconds=30, held=3) is True
    worker.refresh_from_db()
    assert (worker.lease_until - timezone.now()).total_seconds() > 28
    assert worker.held == 3


@pytest.mark.postgresql
def test_one_loop_sweeps_at_a_time() -> None:
    held_task(a_worker(lease=0.2))
    later = timezone.now() + datetime.timedelta(seconds=60)
    swept: list[int] = []

    def other() -> None:
        swept.append(sweep(now=later))
        connection.close()

    with transaction.atomic():
        assert sweep(now=later) == 1
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert swept == [0]


def beat_until_fenced(**values: object) -> str:
    """Run a heartbeat until it fences; return why."""
    why: list[str] = []
    settings: dict[str, object] = {
        "lease_seconds": 0.2,
        "every": 0.01,
        "last_tick": lambda: float("inf"),
        "held": lambda: 0,
        "fenced": why.append,
        **values,
    }
    heartbeat = Heartbeat(**settings)  # type: ignore[arg-type]
    heartbeat.start()
    heartbeat.join()
    return why[0]


def test_a_heartbeat_fences_when_its_worker_was_buried() -> None:
    worker = a_worker(state=WorkerState.DEAD)
    assert beat_until_fenced(worker_id=worker.id) == "its lease was taken over"


def test_a_heartbeat_is_silent_while_the_loop_does_not_turn_and_fences_in_time() -> None:
    worker = a_worker()
    before = worker.lease_until
    assert (
        beat_until_fenced(worker_id=worker.id, last_tick=lambda: 0.0)
        == "it could not renew its lease"
    )
    worker.refresh_from_db()
    assert worker.lease_until == before


def test_a_heartbeat_that_was_stopped_takes_a_refused_beat_for_no_fence() -> None:
    """A worker that ends in good order writes so while its last beat is on the way."""
    why: list[str] = []

    def held() -> int:
        heartbeat.stop()
        return 0

    heartbeat = Heartbeat(
        worker_id=a_worker(state=WorkerState.GONE).id,
        lease_seconds=30.0,
        every=0.01,
        last_tick=lambda: float("inf"),
        held=held,
        fenced=why.append,
    )
    heartbeat.start()
    heartbeat.join()
    assert why == []
