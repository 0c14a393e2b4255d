"""A task that kills its workers is kept apart and given up; its neighbours are not."""

import pytest
from django.utils import timezone

from tasks_app.models import AgentTask
from tasks_app.states import Status, WorkerState
from tasks_app.worker.claiming.claim import claim_quarantined
from tasks_app.worker.maintenance.reclaim import end_worker
from tests.support.engine_rows import a_task, a_worker, claim_all

pytestmark = pytest.mark.django_db(transaction=True)


def crash(task: AgentTask) -> AgentTask:
    """Let the worker that holds the task die."""
    task.refresh_from_db()
    assert task.worker_id is not None
    end_worker(worker_id=task.worker_id, state=WorkerState.DEAD, now=timezone.now())
    task.refresh_from_db()
    return task


def quarantined(count: int, *, crashes: int) -> list[AgentTask]:
    return [a_task(crashes=crashes) for _ in range(count)]


def test_after_two_crashes_only_the_quarantine_claims_a_task() -> None:
    task = a_task()
    for crashes in (1, 2):
        assert len(claim_all(a_worker())) == 1
        assert crash(task).crashes == crashes
    assert claim_all(a_worker()) == []
    (claim,) = claim_quarantined(worker_id=a_worker().id)
    assert claim.task_id == task.id


def test_the_quarantine_leaves_healthy_tasks_to_the_others() -> None:
    a_task()
    assert claim_quarantined(worker_id=a_worker().id) == []


@pytest.mark.parametrize(("crashes", "together"), [(2, 16), (3, 4), (4, 1), (5, 1), (6, 1)])
def test_the_company_gets_smaller_with_each_crash(crashes: int, together: int) -> None:
    quarantined(20, crashes=crashes)
    assert len(claim_quarantined(worker_id=a_worker().id)) == together


def test_the_least_suspect_come_first_and_levels_do_not_mix() -> None:
    (suspect,) = quarantined(1, crashes=4)
    quarantined(2, crashes=2)
    claims = claim_quarantined(worker_id=a_worker().id)
    assert len(claims) == 2
    assert suspect.id not in [claim.task_id for claim in claims]


def test_three_crashes_while_alone_fail_the_task_with_a_sentence() -> None:
    (task,) = quarantined(1, crashes=4)
    for crashes in (5, 6):
        claim_quarantined(worker_id=a_worker().id)
        assert (crash(task).status, task.crashes) == (Status.PENDING, crashes)
    claim_quarantined(worker_id=a_worker().id)
    assert crash(task).status == Status.FAILED
    assert task.error is not None
    assert task.error.startswith("The task ended its worker process three times")
    assert task.stop_reason == "error"
    assert claim_quarantined(worker_id=a_worker().id) == []
