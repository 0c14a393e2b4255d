"""Claims: due tasks, fairly, to a worker that may, and to one worker only."""

import datetime
import threading
import uuid

import pytest
from django.db import connection
from django.utils import timezone

from caylex_project.accounts.models import Tenant
from tasks_app.models import SCHEMA, Event
from tasks_app.states import Status, WorkerState
from tasks_app.worker.claiming.claim import LeaseLost, claim_due
from tests.support.engine_rows import a_task, a_worker, claim_all
from tests.support.factories import ProjectFactory, TenantFactory

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_due_task_becomes_running_with_the_next_epoch() -> None:
    task, worker = a_task(), a_worker()
    (claim,) = claim_all(worker)
    task.refresh_from_db()
    assert (claim.task_id, claim.epoch) == (task.id, 1)
    assert (task.status, task.worker_id, task.epoch) == (Status.RUNNING, worker.id, 1)
    assert task.started_at is not None
    assert list(Event.objects.values_list("sequence", "kind")) == [(1, "started")]


def test_a_task_that_is_not_due_stays() -> None:
    task, worker = a_task(due_in=60), a_worker()
    assert claim_all(worker) == []
    task.refresh_from_db()
    assert task.status == Status.PENDING


@pytest.mark.parametrize(
    ("lease", "state"),
    [(-1.0, WorkerState.ALIVE), (30.0, WorkerState.DRAINING), (30.0, WorkerState.DEAD)],
)
def test_a_worker_without_the_right_claims_nothing(lease: float, state: str) -> None:
    task, worker = a_task(), a_worker(lease=lease, state=state)
    with pytest.raises(LeaseLost):
        claim_all(worker)
    task.refresh_from_db()
    assert task.status == Status.PENDING


def test_an_unknown_worker_claims_nothing() -> None:
    a_task()
    with pytest.raises(LeaseLost):
        claim_due(worker_id=uuid.uuid4(), limit=1, after_tenant=uuid.UUID(int=0))


def test_the_first_start_stays_the_start_when_a_task_is_claimed_again() -> None:
    began = timezone.now() - datetime.timedelta(hours=1)
    task = a_task(started_at=began, epoch=3, sequence=7)
    claim_all(a_worker())
    task.refresh_from_db()
    assert (task.started_at, task.epoch, task.sequence) == (began, 4, 8)
    assert list(Event.objects.values_list("sequence", "kind")) == [(8, "resumed")]


def test_a_task_of_a_newer_release_is_left_to_newer_workers() -> None:
    newer, older = a_task(schema_version=SCHEMA + 1), a_task(schema_version=1)
    assert [claim.task_id for claim in claim_all(a_worker())] == [older.id]
    newer.refresh_from_db()
    assert newer.status == Status.PENDING


def test_one_tenants_many_do_not_stand_before_another_tenants_one() -> None:
    for number in range(20):
        a_task(tenant=_acme(), due_in=-100 + number)
    lonely = a_task(tenant=TenantFactory.create(name="lonely"), due_in=-1)
    claims = claim_all(a_worker(), limit=2)
    assert lonely.id in [claim.task_id for claim in claims]


def test_the_turn_goes_round_the_tenants() -> None:
    tenants = {TenantFactory.create(name=f"tenant-{number}").id: 0 for number in range(5)}
    for tenant_id in list(tenants) * 2:
        a_task(tenant=Tenant.objects.get(pk=tenant_id))
    worker, turn = a_worker(), uuid.UUID(int=0)
    for _ in range(5):
        _, turn = claim_due(worker_id=worker.id, limit=1, after_tenant=turn)
        tenants[turn] += 1
    assert list(tenants.values()) == [1, 1, 1, 1, 1]


def test_the_oldest_of_a_project_comes_first() -> None:
    project = ProjectFactory.create()
    same = {"tenant": project.tenant, "project": project}
    late, early = a_task(due_in=-1, **same), a_task(due_in=-50, **same)
    (claim,) = claim_all(a_worker(), limit=1)
    assert claim.task_id == early.id
    assert claim.task_id != late.id


@pytest.mark.postgresql
def test_two_workers_at_once_never_claim_the_same_task() -> None:
    tasks = {a_task(tenant=_acme()).id for _ in range(60)}
    workers = [a_worker() for _ in range(4)]
    claimed: list[uuid.UUID] = []

    def claim_until_empty(worker_id: uuid.UUID) -> None:
        for _ in range(40):
            claims, _ = claim_due(worker_id=worker_id, limit=5, after_tenant=uuid.UUID(int=0))
            claimed.extend(claim.task_id for claim in claims)
        connection.close()

    threads = [threading.Thread(target=claim_until_empty, args=[each.id]) for each in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 60
    assert set(claimed) == tasks


def _acme() -> Tenant:
    tenant: Tenant = Tenant.objects.filter(name="acme").first() or TenantFactory.create(name="acme")
    return tenant
