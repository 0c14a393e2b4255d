"""Telling those who wait: on PostgreSQL, in few messages, and only of what is committed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from agent_runtime.messages import Usage
from tasks_app.notifications.changes import CHANNEL, MAX_IDS, parse_change_payload, publish_changes
from tasks_app.operations.cancel import cancel
from tasks_app.operations.runs import retry
from tasks_app.states import WorkerState
from tasks_app.worker.database import Database
from tasks_app.worker.execution import change_notifier as module
from tasks_app.worker.execution.change_notifier import ChangeNotifier
from tasks_app.worker.journal.entries import Entry, NewStep
from tasks_app.worker.journal.journal import Fenced, Journal
from tasks_app.worker.maintenance.reclaim import end_worker
from tasks_app.worker.resources import Resources
from tests.engine.conftest import ListenerEvents
from tests.support.cluster import PATIENCE
from tests.support.engine_rows import a_task, claimed_task

pytestmark = pytest.mark.django_db(transaction=True)


def a_step() -> NewStep:
    now = timezone.now()
    return NewStep(
        id=uuid.uuid4(),
        run_number=1,
        index=1,
        request={"schema": 1, "notes": []},
        response={"role": "assistant", "content": "words"},
        finish_reason="stop",
        model="scripted",
        provider_request_id="",
        usage=Usage(),
        started_at=now,
        completed_at=now,
    )


def test_ids_come_back_from_a_message_and_odd_ones_are_left_out() -> None:
    first, second = uuid.uuid4(), uuid.uuid4()

    assert parse_change_payload(f"{first.hex} {second}  nonsense \u0661") == [first, second]
    assert parse_change_payload("") == []


@pytest.mark.postgresql
def test_many_ids_come_in_messages_that_fit(listener_events: ListenerEvents) -> None:
    ids = {uuid.uuid4() for _ in range(MAX_IDS * 2 + 1)}
    with transaction.atomic():
        publish_changes(ids)
    got: list[uuid.UUID] = []
    while len(got) < len(ids):
        got.extend(listener_events.changed.get(timeout=PATIENCE))

    assert set(got) == ids


@pytest.mark.postgresql
def test_a_listener_whose_connection_was_cut_listens_again_and_looks(
    listener_events: ListenerEvents,
) -> None:
    task = a_task()
    listener_events.awaited.append(task.id)
    listener_events.found.get(timeout=PATIENCE)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query = %s",
            [f"LISTEN {CHANNEL}"],
        )
        assert cursor.fetchone() == (1,)
    cancel(task_id=task.id, tenant_id=None, reason="", now=timezone.now())  # told to nobody
    while listener_events.found.get(timeout=PATIENCE) != {task.id: "1c"}:
        pass
    publish_changes([last := uuid.uuid4()])
    while last not in listener_events.changed.get(timeout=PATIENCE):
        pass


@pytest.mark.postgresql
def test_what_is_rolled_back_is_not_told(listener_events: ListenerEvents) -> None:
    with transaction.atomic():
        publish_changes([uuid.uuid4()])
        transaction.set_rollback(True)
    publish_changes([last := uuid.uuid4()])

    assert list(listener_events.changed.get(timeout=PATIENCE)) == [last]


@pytest.mark.postgresql
@pytest.mark.parametrize("change", ["cancel", "cancel_running", "retry", "buried"])
def test_every_change_outside_the_journal_is_told(
    listener_events: ListenerEvents, change: str
) -> None:
    now = timezone.now()
    task = claimed_task()[0] if change in ("cancel_running", "buried") else a_task()
    if change == "buried":
        assert task.worker_id
        end_worker(worker_id=task.worker_id, state=WorkerState.DEAD, now=now)
    else:
        cancel(task_id=task.id, tenant_id=None, reason="", now=now)
    assert task.id in listener_events.changed.get(timeout=PATIENCE)
    if change == "retry":
        retry(task_id=task.id, tenant_id=None, now=now)
        assert task.id in listener_events.changed.get(timeout=PATIENCE)


def test_looking_tells_the_versions_of_what_is_awaited_and_of_nothing_else(
    listener_events: ListenerEvents,
) -> None:
    task, _ = claimed_task()
    a_task()
    listener_events.awaited[:] = [task.id, uuid.uuid4()]

    assert listener_events.found.get(timeout=PATIENCE) == {task.id: "1"}

    cancel(task_id=task.id, tenant_id=None, reason="", now=timezone.now())
    while (versions := listener_events.found.get(timeout=PATIENCE)) == {task.id: "1"}:
        pass
    assert versions == {task.id: "1c"}


@pytest.mark.postgresql
async def test_the_journal_tells_of_what_landed_and_not_of_what_was_fenced(
    database: Database,
) -> None:
    published: list[uuid.UUID] = []
    journal = Journal(database, notify=published.extend)
    task, claim = await database.run(claimed_task)
    entry = Entry(
        task_id=task.id,
        epoch=claim.epoch,
        sequence=task.sequence,
        at=timezone.now(),
        step=a_step(),
    )
    await journal.commit(entry)
    assert published == [task.id]

    with pytest.raises(Fenced):
        await journal.commit(Entry(task_id=task.id, epoch=99, sequence=0, at=timezone.now()))
    assert published == [task.id]


@pytest.mark.postgresql
async def test_a_worker_s_journal_tells_those_who_wait(listener_events: ListenerEvents) -> None:
    resources = Resources.from_settings()
    task, claim = await resources.database.run(claimed_task)
    await resources.journal.commit(
        Entry(
            task_id=task.id,
            epoch=claim.epoch,
            sequence=task.sequence,
            at=timezone.now(),
            step=a_step(),
        )
    )
    assert list(await asyncio.to_thread(listener_events.changed.get, timeout=PATIENCE)) == [task.id]
    await resources.close()
    resources.database.join()


class Publisher:
    """Stands for the database: counts messages, fails as often as it is told to."""

    def __init__(self, *, failures: int = 0) -> None:
        self.messages: list[set[uuid.UUID]] = []
        self.failures = failures

    def __call__(self, task_ids: Iterable[uuid.UUID]) -> None:
        if self.failures:
            self.failures -= 1
            raise OperationalError
        self.messages.append(set(task_ids))


MakeNotifier = Callable[[Publisher], ChangeNotifier]


@pytest.fixture
def make_notifier(monkeypatch: pytest.MonkeyPatch) -> MakeNotifier:
    """Make a teller that speaks on any database and does not pause after a failure."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)

    def make(published: Publisher) -> ChangeNotifier:
        made = ChangeNotifier(publish=published)
        made._is_supported = True
        return made

    return make


async def test_a_burst_is_two_messages_the_first_at_once(make_notifier: MakeNotifier) -> None:
    published = Publisher()
    made = make_notifier(published)
    ids = [uuid.uuid4() for _ in range(300)]
    made.notify(ids[:1])
    while not published.messages:
        await asyncio.sleep(0)
    for each in ids:  # within the pause after the first
        made.notify([each])
    await made.close()

    assert published.messages == [{ids[0]}, set(ids)]


async def test_what_could_not_be_told_is_told_later(make_notifier: MakeNotifier) -> None:
    published = Publisher(failures=3)
    made = make_notifier(published)
    made.notify([first := uuid.uuid4()])
    await made.close()

    assert published.messages == [{first}]


async def test_nothing_is_nothing_to_tell(make_notifier: MakeNotifier) -> None:
    published = Publisher()
    made = make_notifier(published)
    made.notify([])
    await made.close()

    assert published.messages == []
    assert CHANNEL == "caylex_changes"  # of its own, beside the doorbell's
