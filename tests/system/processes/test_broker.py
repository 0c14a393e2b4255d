"""The broker, on real connections."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage
from django_q.tasks import async_task

from tasks_app.notifications.wakeup import FUNCTION, send_wakeup
from tasks_app.worker.process.broker import CHANNEL, WAKEUP_BATCH, DatabaseBroker, QueueMessage

pytestmark = pytest.mark.django_db(transaction=True)

NEVER = 100.0  # seconds of poll: whoever wakes was woken
TASK = uuid.UUID("6d1f54ea-1f3c-4a4e-8a8b-0e4c4a4f3c11")


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[DatabaseBroker]:
    monkeypatch.setattr(Conf, "POLL", 0.01)
    broker = get_broker()
    assert isinstance(broker, DatabaseBroker)
    yield broker
    broker.stop_listening()


class Elsewhere(threading.Thread):
    """Calls a function on a thread, and so on a connection, of its own."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._function = function
        self._result: Any = None
        self.start()

    def run(self) -> None:
        options = {**connection.settings_dict["OPTIONS"]}
        options.pop("pool", None)  # as in a worker
        connection.settings_dict = {**connection.settings_dict, "OPTIONS": options}
        try:
            self._result = self._function()
        finally:
            connections.close_all()

    def result(self) -> Any:
        self.join(30)
        assert not self.is_alive(), "it still waits"
        return self._result


def ids(messages: list[QueueMessage] | None) -> list[str]:
    return [SignedPackage.loads(payload)["args"][0] for _, payload in messages or []]


def cut_all_other_connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])


def listeners() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            f" WHERE datname = current_database() AND query = 'LISTEN {CHANNEL}'"
        )
        return int(cursor.fetchone()[0])


def test_a_message_holds_the_task_s_id_and_no_more() -> None:
    send_wakeup(task_id=TASK)
    message = SignedPackage.loads(OrmQ.objects.get().payload)
    assert message.pop("started")
    assert message.pop("id")
    assert message == {
        "name": str(TASK),
        "func": FUNCTION,
        "args": (str(TASK),),
        "kwargs": {},
        "save": False,
        "ack_failure": True,
    }


def test_a_knock_leaves_with_its_transaction(broker: DatabaseBroker) -> None:
    with transaction.atomic():
        send_wakeup(task_id=TASK)
        if connection.vendor == "postgresql":
            assert Elsewhere(broker.dequeue).result() is None
    assert ids(broker.dequeue()) == [str(TASK)]


def test_a_knock_is_gone_with_its_transaction(broker: DatabaseBroker) -> None:
    with transaction.atomic():
        send_wakeup(task_id=TASK)
        transaction.set_rollback(True)
    assert broker.dequeue() is None
    assert OrmQ.objects.count() == 0


def test_a_failed_knock_fails_its_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Conf, "CLUSTER_NAME", "x" * 101)
    if connection.vendor == "sqlite":
        monkeypatch.setattr(Conf, "CLUSTER_NAME", None)
    with pytest.raises(DatabaseError), transaction.atomic():
        get_broker().enqueue("x")
    assert OrmQ.objects.count() == 0


def test_a_message_is_delivered_once_until_its_retry_is_due(broker: DatabaseBroker) -> None:
    send_wakeup(task_id=TASK)
    [(pk, payload)] = broker.dequeue() or []
    assert broker.dequeue() is None
    assert (broker.queue_size(), broker.lock_size()) == (0, 1)

    OrmQ.objects.update(lock="2020-01-01T00:00:00Z")
    assert broker.dequeue() == [(pk, payload)]


def test_an_acknowledged_message_never_comes_again(broker: DatabaseBroker) -> None:
    send_wakeup(task_id=TASK)
    [(pk, _)] = broker.dequeue() or []
    broker.acknowledge(pk)
    assert OrmQ.objects.count() == 0


def test_a_queue_of_another_name_is_left_alone(broker: DatabaseBroker) -> None:
    async_task(FUNCTION, str(TASK), cluster="slow")
    assert broker.dequeue() is None
    slow = DatabaseBroker("slow")
    assert ids(slow.dequeue()) == [str(TASK)]
    slow.stop_listening()


def test_a_burst_of_knocks_is_delivered_in_slices_and_each_slice_as_one(
    broker: DatabaseBroker,
) -> None:
    for _ in range(2 * WAKEUP_BATCH + 1):
        send_wakeup(task_id=TASK)
    assert len(broker.dequeue() or []) == 1
    assert OrmQ.objects.count() == WAKEUP_BATCH + 2
    assert len(broker.dequeue() or []) == 1
    assert len(broker.dequeue() or []) == 1
    assert broker.dequeue() is None
    assert OrmQ.objects.count() == 3


def test_messages_that_are_no_knocks_are_each_delivered(broker: DatabaseBroker) -> None:
    send_wakeup(task_id=TASK)
    async_task("builtins.print", "first")
    OrmQ.objects.create(key=broker.list_key, payload="not signed", lock="2020-01-01T00:00:00Z")
    send_wakeup(task_id=TASK)
    delivered = [broker.dequeue() for _ in range(3)]
    assert [len(each or []) for each in delivered] == [1, 1, 1]
    assert ids(delivered[0]) == [str(TASK)]
    assert ids(delivered[1]) == ["first"]
    assert delivered[2] is not None
    assert delivered[2][0][1] == "not signed"
    assert broker.dequeue() is None


def test_making_a_broker_costs_no_query(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        get_broker()


@pytest.mark.postgresql
def test_a_knock_wakes_the_one_who_waits(
    broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert broker.dequeue() is None  # listens from here on
    monkeypatch.setattr(Conf, "POLL", NEVER)
    waiting = Elsewhere(broker.dequeue)
    send_wakeup(task_id=TASK)
    assert ids(waiting.result()) == [str(TASK)]


@pytest.mark.postgresql
def test_a_knock_between_the_look_and_the_sleep_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class KnockedAfterTheLook(DatabaseBroker):
        looks = 0

        def _take(self) -> list[QueueMessage]:
            messages = super()._take()
            self.looks += 1
            if self.looks == 1:
                send_wakeup(task_id=TASK)
            return messages

    monkeypatch.setattr(Conf, "POLL", NEVER)
    broker = KnockedAfterTheLook()
    assert ids(Elsewhere(broker.dequeue).result()) == [str(TASK)]
    broker.stop_listening()


@pytest.mark.postgresql
def test_a_message_that_another_transaction_holds_is_passed_over_not_waited_for(
    broker: DatabaseBroker,
) -> None:
    async_task("builtins.print", "first")
    async_task("builtins.print", "second")
    with transaction.atomic():
        held = OrmQ.objects.order_by("pk").select_for_update()[:1]
        assert len(held) == 1
        assert ids(Elsewhere(broker.dequeue).result()) == ["second"]


@pytest.mark.postgresql
def test_eight_takers_take_each_message_once(broker: DatabaseBroker) -> None:
    for number in range(40):
        async_task("builtins.print", str(number))

    def take_all() -> list[str]:
        mine, taken = DatabaseBroker(), []
        while messages := mine.dequeue():
            taken += ids(messages)
        mine.stop_listening()
        return taken

    takers = [Elsewhere(take_all) for _ in range(8)]
    taken = [each for taker in takers for each in taker.result()]
    assert sorted(taken, key=int) == [str(number) for number in range(40)]


@pytest.mark.postgresql
def test_cut_connections_are_said_once_and_mended(
    broker: DatabaseBroker, caplog: pytest.LogCaptureFixture
) -> None:
    ready, go = threading.Event(), threading.Event()

    def around_the_cut() -> tuple[list[str], list[str]]:
        assert broker.dequeue() is None
        ready.set()
        assert go.wait(30)
        during = [*ids(broker.dequeue()), *ids(broker.dequeue())]
        broker.acknowledge(-1)
        return during, ids(broker.dequeue())

    other = Elsewhere(around_the_cut)
    assert ready.wait(30)
    assert listeners() == 1
    assert cut_all_other_connections() >= 2
    send_wakeup(task_id=TASK)
    go.set()
    during, after = other.result()
    assert [*during, *after] == [str(TASK)]
    said = [
        each.message for each in caplog.records if each.name == "tasks_app.worker.process.broker"
    ]
    assert [each.partition(":")[0] for each in said] == [
        "The queue's database failed in dequeue",
        "The queue's database is back.",
    ]


def test_nothing_that_the_cluster_calls_raises_while_the_database_is_away(
    broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise DatabaseError("away")

    with connection.execute_wrapper(refuse):
        assert broker.dequeue() is None
        assert broker.acknowledge(1) is None
        assert broker.fail(1) is None
        assert broker.delete(1) is None
        assert (broker.queue_size(), broker.lock_size(), broker.purge_queue()) == (0, 0, 0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert broker.ping()
