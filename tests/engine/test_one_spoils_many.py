"""What is wrong with one task is that task's trouble alone."""

import asyncio
import datetime
from typing import Any

import pytest
from django.utils import timezone

from caylex_project.integrations.access import accesses_for
from tasks_app.models import SCHEMA, AgentTask
from tasks_app.states import Status
from tasks_app.worker.database import Database
from tasks_app.worker.execution.loader import TaskLoader
from tasks_app.worker.maintenance.sweep import sweep
from tests.support.engine_rows import a_task, a_worker, claim_all


async def test_a_task_that_cannot_be_read_fails_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = await database.run(lambda: [a_task() for _ in range(4)])
    claims = await database.run(lambda: claim_all(a_worker()))

    def broken(*, project: Any, **values: Any) -> Any:
        if project.pk == tasks[2].project_id:
            raise ZeroDivisionError
        return accesses_for(project=project, **values)

    monkeypatch.setattr("tasks_app.worker.execution.rebuild.accesses_for", broken)
    found = await asyncio.gather(*map(TaskLoader(database).load, claims), return_exceptions=True)
    broke = [
        c.task_id for c, each in zip(claims, found, strict=True) if isinstance(each, Exception)
    ]
    assert broke == [tasks[2].id]


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_task_of_a_newer_release_is_left_to_newer_workers() -> None:
    now = timezone.now()
    newer = a_task(schema_version=SCHEMA, limits={"schema": 2})
    (claim,) = claim_all(a_worker(lease=600.0))
    assert claim.task_id == newer.id
    AgentTask.objects.filter(pk=newer.pk).update(
        schema_version=SCHEMA + 1, cancel_requested_at=now - datetime.timedelta(seconds=10)
    )
    dead = a_task()
    claim_all(a_worker())
    assert sweep(now=now + datetime.timedelta(seconds=60)) == 1
    newer.refresh_from_db()
    dead.refresh_from_db()
    assert (newer.status, dead.status) == (Status.RUNNING, Status.PENDING)
