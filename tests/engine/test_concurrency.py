"""How many tasks may run at once: held hard, free where there is no limit, and no starvation."""

import threading
import uuid
from collections import Counter
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from caylex_project.accounts.models import Project
from tasks_app.models import AgentTask
from tasks_app.states import Status
from tasks_app.worker.claiming.claim import claim_due, claim_quarantined
from tests.support.engine_rows import a_task, a_worker, claim_all, copies
from tests.support.factories import EndUserFactory, ProjectFactory, TenantFactory

pytestmark = pytest.mark.django_db(transaction=True)


def task_of(project: Project, **values: Any) -> AgentTask:
    return a_task(tenant=project.tenant, project=project, **values)


def claimed_of(limit: int = 16) -> Counter[uuid.UUID]:
    """Claim for a fresh worker, and count by project."""
    ids = [claim.task_id for claim in claim_all(a_worker(), limit=limit)]
    return Counter(AgentTask.objects.filter(pk__in=ids).values_list("project", flat=True))


def test_a_tenant_runs_no_more_than_its_limit_over_all_its_projects() -> None:
    tenant = TenantFactory.create(limits={"max_concurrent_tasks": 3})
    for project in (ProjectFactory.create(tenant=tenant), ProjectFactory.create(tenant=tenant)):
        copies(task_of(project), count=4)
    other = a_task()
    assert sum(claimed_of().values()) == 4
    assert claimed_of() == {}
    other.refresh_from_db()
    assert other.status == Status.RUNNING
    AgentTask.objects.filter(tenant=tenant, status=Status.RUNNING)[:1].get().delete()
    assert sum(claimed_of().values()) == 1


def test_a_full_project_does_not_starve_the_others_of_its_tenant() -> None:
    full = ProjectFactory.create(limits={"max_concurrent_tasks": 1})
    copies(task_of(full, due_in=-60), count=100)
    free = ProjectFactory.create(tenant=full.tenant)
    assert claimed_of() == {full.pk: 1}
    copies(task_of(free), count=2)
    assert claimed_of(limit=2) == {free.pk: 2}
    assert claimed_of(limit=2) == {free.pk: 1}


def test_a_user_at_his_limit_does_not_hide_the_others_of_his_project() -> None:
    project = ProjectFactory.create(limits={"max_concurrent_tasks_per_user": 2})
    busy = task_of(project, due_in=-60)
    copies(busy, count=500)
    other = EndUserFactory.create(project=project)
    copies(task_of(project, end_user=other), count=4)
    claims = claim_all(a_worker(), limit=8) + claim_all(a_worker(), limit=8)
    users = AgentTask.objects.filter(pk__in=[claim.task_id for claim in claims])
    assert Counter(users.values_list("end_user", flat=True)) == {busy.end_user_id: 2, other.pk: 2}


def test_quarantine_is_no_way_round_a_limit() -> None:
    project = ProjectFactory.create(limits={"max_concurrent_tasks": 1})
    copies(task_of(project, crashes=2), count=3)
    assert len(claim_quarantined(worker_id=a_worker().id)) == 1
    assert claim_quarantined(worker_id=a_worker().id) == []


def test_a_claim_where_nothing_is_limited_asks_nothing_more() -> None:
    worker = a_worker()
    a_task()
    with CaptureQueriesContext(connection) as free:
        claim_all(worker)
    limits = {"max_concurrent_tasks": 5}
    task_of(ProjectFactory.create(limits=limits, tenant__limits=limits))
    with CaptureQueriesContext(connection) as limited:
        claim_all(worker)
    assert len(limited) - len(free) == (4 if connection.vendor == "postgresql" else 6)


@pytest.mark.postgresql
@pytest.mark.parametrize("scope", ["tenant", "project", "end_user"])
def test_workers_that_claim_at_once_never_exceed_a_limit(scope: str) -> None:
    key = "max_concurrent_tasks" + ("_per_user" if scope == "end_user" else "")
    project = ProjectFactory.create(
        limits={} if scope == "tenant" else {key: 7},
        tenant__limits={key: 7} if scope == "tenant" else {},
    )
    copies(task_of(project), count=60)
    workers = [a_worker() for _ in range(4)]
    together = threading.Barrier(len(workers))

    def claim_again_and_again(worker_id: uuid.UUID) -> None:
        for _ in range(12):
            together.wait()
            claim_due(worker_id=worker_id, limit=3, after_tenant=uuid.UUID(int=0))
        connection.close()

    threads = [threading.Thread(target=claim_again_and_again, args=[w.id]) for w in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert AgentTask.objects.filter(status=Status.RUNNING).count() == 7
