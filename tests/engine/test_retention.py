"""Retention: what is old enough goes, and nothing else ever does."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from skills_app.kept_uploads import keep_upload
from skills_app.models import SkillUpload
from tasks_app.models import (
    AgentTask,
    BulkOperation,
    Event,
    IdempotencyKey,
    Step,
    TaskMetadata,
    ToolCall,
    Worker,
)
from tasks_app.states import WorkerState
from tasks_app.worker.maintenance import retention
from tasks_app.worker.maintenance.retention import delete_expired
from tests.support.factories import (
    AgentTaskFactory,
    EventFactory,
    StepFactory,
    ToolCallFactory,
    WorkerFactory,
)

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()
DAY = datetime.timedelta(days=1)
COMPLETED = {"status": "COMPLETED", "stop_reason": "final_report", "report": "Done."}


def ended(*, days_ago: float, **fields: Any) -> AgentTask:
    at = NOW - days_ago * DAY
    task: AgentTask = AgentTaskFactory(**COMPLETED, completed_at=at, created_at=at, **fields)
    return task


def test_a_task_goes_when_its_end_is_long_ago_with_all_that_was_written_of_it() -> None:
    old, young = ended(days_ago=90.1), ended(days_ago=89.9)
    for task in (old, young):
        ToolCallFactory(step=StepFactory(task=task))
        EventFactory(task=task)
        TaskMetadata.objects.create(
            task=task, tenant=task.tenant, key="a", value="b", created_at=task.created_at
        )

    assert delete_expired(days=90, now=NOW) is False

    assert AgentTask.objects.get() == young
    assert Step.objects.get().task == Event.objects.get().task == young
    assert TaskMetadata.objects.get().task == young
    assert ToolCall.objects.get().step.task == young


def test_what_has_not_ended_stays_however_old_it_is() -> None:
    long_ago = NOW - 1000 * DAY
    AgentTaskFactory(created_at=long_ago)
    AgentTaskFactory(
        created_at=long_ago, started_at=long_ago, status="RUNNING", worker=WorkerFactory()
    )

    delete_expired(days=1, now=NOW)

    assert AgentTask.objects.count() == 2


def test_days_count_from_the_end_and_none_keeps_all_for_ever() -> None:
    task = ended(days_ago=10)
    AgentTask.objects.update(created_at=NOW - 500 * DAY)

    for days in (0, 11, 36_500):
        delete_expired(days=days, now=NOW)
        assert AgentTask.objects.get() == task
    delete_expired(days=9, now=NOW)
    assert not AgentTask.objects.exists()


def test_an_upload_that_was_not_stored_goes_after_an_hour() -> None:
    boss = User.objects.create_superuser("boss")
    keep_upload(user_id=boss.pk, data=b"x", now=NOW)

    delete_expired(days=0, now=NOW + datetime.timedelta(minutes=59))
    assert SkillUpload.objects.exists()
    delete_expired(days=0, now=NOW + datetime.timedelta(minutes=61))
    assert not SkillUpload.objects.exists()


def test_many_go_in_portions_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_SIZE", 2)
    tasks = [ended(days_ago=100 + number) for number in range(3)]

    assert delete_expired(days=90, now=NOW) is True
    assert AgentTask.objects.get() == tasks[0]
    assert delete_expired(days=90, now=NOW) is False
    assert not AgentTask.objects.exists()


def test_a_rerun_outlives_the_task_that_it_was_made_from() -> None:
    young = ended(days_ago=1, rerun_of=ended(days_ago=100))

    delete_expired(days=90, now=NOW)

    young.refresh_from_db()
    assert young.rerun_of is None


def test_idempotency_keys_go_after_two_days_and_their_tasks_stay() -> None:
    task = ended(days_ago=3)
    for hours in (47, 49):
        IdempotencyKey.objects.create(
            tenant=task.tenant,
            path="/agent-task",
            key=str(hours),
            fingerprint="0" * 64,
            task=task,
            answer={},
            created_at=NOW - datetime.timedelta(hours=hours),
        )

    delete_expired(days=90, now=NOW)

    assert IdempotencyKey.objects.get().key == "47"
    assert AgentTask.objects.get() == task


def test_workers_that_ended_go_after_a_week_and_the_living_stay() -> None:
    for state in WorkerState:
        for days in (6, 8):
            WorkerFactory(state=state, lease_until=NOW - days * DAY, host=f"{state}{days}")

    delete_expired(days=90, now=NOW)

    assert set(Worker.objects.values_list("host", flat=True)) == {
        *("alive6", "alive8", "draining6", "draining8", "gone6", "dead6")
    }


def test_bulk_operations_go_a_week_after_they_were_through() -> None:
    for days in (6, 8, None):
        through = None if days is None else NOW - days * DAY
        BulkOperation.objects.create(actor=str(days), action="cancel", completed_at=through)

    delete_expired(days=90, now=NOW)

    assert set(BulkOperation.objects.values_list("actor", flat=True)) == {"6", "None"}


def test_an_ended_worker_that_still_holds_a_task_stays() -> None:
    worker = WorkerFactory(state=WorkerState.DEAD, lease_until=NOW - 8 * DAY)
    AgentTaskFactory(status="RUNNING", started_at=NOW, worker=worker)

    delete_expired(days=90, now=NOW)

    assert Worker.objects.get() == worker


@pytest.fixture
def elsewhere(transactional_db: None) -> Iterator[Any]:
    """A cursor of another connection, in a transaction that ends with the test."""
    other = connection.copy()
    other.set_autocommit(False)
    with other.cursor() as cursor:
        yield cursor
    other.rollback()
    other.close()


@pytest.mark.postgresql
def test_a_task_that_somebody_holds_is_left_for_the_next_time(elsewhere: Any) -> None:
    held, free = ended(days_ago=200), ended(days_ago=100)
    elsewhere.execute("SELECT 1 FROM tasks_app_agenttask WHERE id = %s FOR UPDATE", [held.id])

    delete_expired(days=90, now=NOW)

    assert AgentTask.objects.get() == held != free


@pytest.mark.postgresql
def test_of_two_loops_the_second_does_nothing(elsewhere: Any) -> None:
    task = ended(days_ago=100)
    elsewhere.execute("SELECT pg_advisory_xact_lock(%s)", [retention._LOCK])

    assert delete_expired(days=90, now=NOW) is False
    assert AgentTask.objects.get() == task
