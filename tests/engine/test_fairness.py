"""Fairness: whose task is next, what it costs to find out, and the slots kept for others."""

import datetime
import time
import uuid
from collections import Counter

import pytest
from django.db import connection
from django.utils import timezone

from caylex_project.accounts.models import Project, Tenant
from tasks_app.models import AgentTask
from tasks_app.worker.claiming.claim import claim_due, claim_quarantined
from tasks_app.worker.claiming.due import DueQuery, find_due
from tests.support.engine_rows import a_task, a_worker, claim_all, copies
from tests.support.factories import ProjectFactory, TenantFactory

HOUR = datetime.timedelta(hours=1)

pytestmark = pytest.mark.django_db(transaction=True)


def claimed(*, limit: int = 16) -> list[uuid.UUID]:
    return [claim.task_id for claim in claim_all(a_worker(), limit=limit)]


def test_the_higher_priority_goes_first_and_within_one_the_longest_due() -> None:
    project = ProjectFactory.create()
    same = {"tenant": project.tenant, "project": project}
    order = [(9, -1), (5, -60), (5, -2), (0, -3600)]
    tasks = [a_task(priority=priority, due_in=due, **same).id for priority, due in reversed(order)]
    assert claimed() == tasks[::-1]


def test_a_priority_counts_within_its_project_alone() -> None:
    tenant = TenantFactory.create()
    urgent, calm = (ProjectFactory.create(tenant=tenant) for _ in range(2))
    for project, priority in ((urgent, 9), (calm, 0)):
        for _ in range(4):
            a_task(tenant=tenant, project=project, priority=priority)
    found = claim_all(a_worker(), limit=4)
    taken = AgentTask.objects.filter(pk__in=[claim.task_id for claim in found])
    assert Counter(taken.values_list("project", flat=True)) == {urgent.pk: 2, calm.pk: 2}


def test_a_tenant_of_many_projects_gets_no_more_than_a_tenant_of_one() -> None:
    wide, narrow = TenantFactory.create(), TenantFactory.create()
    for _ in range(6):
        a_task(tenant=wide)
    project = ProjectFactory.create(tenant=narrow)
    for _ in range(6):
        a_task(tenant=narrow, project=project)
    claims = claim_all(a_worker(), limit=6)
    assert Counter(claim.tenant_id for claim in claims) == {wide.pk: 3, narrow.pk: 3}


def test_only_one_task_of_each_tenant_besides_those_that_are_named() -> None:
    here, there = TenantFactory.create(), TenantFactory.create()
    for tenant in (here, there):
        project = ProjectFactory.create(tenant=tenant)
        for _ in range(3):
            a_task(tenant=tenant, project=project)
    claims, _ = claim_due(
        worker_id=a_worker().id, limit=5, after_tenant=uuid.UUID(int=0), exclude_tenants={here.pk}
    )
    assert [claim.tenant_id for claim in claims] == [there.pk]


@pytest.mark.parametrize("scope", [Tenant, Project])
@pytest.mark.parametrize("stop", [{"paused": True}, {"disabled_at": timezone.now()}])
def test_what_is_paused_or_disabled_is_not_claimed(
    scope: type[Tenant] | type[Project], stop: dict[str, object]
) -> None:
    tasks = [a_task(), a_task(crashes=2)]
    other = a_task()
    stopped = [getattr(task, scope.__name__.lower() + "_id") for task in tasks]
    scope.objects.filter(pk__in=stopped).update(**stop)
    assert claimed() == [other.id]
    assert claim_quarantined(worker_id=a_worker().id) == []
    scope.objects.filter(pk__in=stopped).update(paused=False, disabled_at=None)
    assert claimed() == [tasks[0].id]


@pytest.mark.postgresql
def test_ten_thousand_waiting_tasks_are_no_slower_to_look_at_than_a_hundred() -> None:
    first, lonely = a_task(priority=5), a_task()
    copies(first, count=100)
    few = seconds_to_look(for_one=lonely.id)
    copies(first, count=10_000)
    copies(first, count=2_000, priority=9, next_attempt_at=timezone.now() + HOUR)
    assert seconds_to_look(for_one=lonely.id) < few * 2


def seconds_to_look(*, for_one: uuid.UUID) -> float:
    """Return the least time of ten looks, each of which finds that task among the first two."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tasks_app_agenttask")
    took = []
    for _ in range(10):
        began = time.perf_counter()
        found = find_due(DueQuery(limit=64, after_tenant=uuid.UUID(int=0), now=timezone.now()))
        took.append(time.perf_counter() - began)
        assert len(found) == 64
        assert for_one in [each.task_id for each in found[:2]]
    return min(took)
