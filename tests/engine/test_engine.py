"""The engine in this process, on its own thread: claims, lost answers, draining, broken duties."""

import asyncio
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError
from django.utils import timezone

from agent_runtime.mcp.toolset import CatalogueCache
from agent_runtime.net.address_guard import AddressGuard
from agent_runtime.testing import ScriptedModel, text_response
from tasks_app.models import AgentTask, WebhookDelivery, Worker
from tasks_app.operations import cancel
from tasks_app.states import DeliveryState, Status, WorkerState
from tasks_app.worker import engine as module
from tasks_app.worker.claiming.claim import Claim, claim_due
from tasks_app.worker.database import Database
from tasks_app.worker.engine import Engine
from tasks_app.worker.journal.journal import Journal
from tasks_app.worker.maintenance import sweep
from tasks_app.worker.resources import Resources
from tests.engine.conftest import ListenerEvents
from tests.support.engine_rows import a_task, copies

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 20.0
NO_PRIVATE = AddressGuard()


def eventually(look: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Hanging(ScriptedModel):
    """A model that never answers."""

    async def complete(self, request: Any) -> Any:
        self.requests.append(request)
        await asyncio.Event().wait()


StartEngine = Callable[..., Engine]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[StartEngine]:
    """Start an engine with a given model; it is drained at the end."""
    started: list[tuple[Engine, Database]] = []

    def leave(code: int) -> None:
        raise AssertionError(f"the process would have left with {code}")

    monkeypatch.setattr(module, "_leave", leave)

    def begin(
        model: ScriptedModel,
        *,
        drain_seconds: float = 5.0,
        capacity: int = 500,
        guard: AddressGuard = NO_PRIVATE,
    ) -> Engine:
        database = Database()

        def resources() -> Resources:
            made = Resources.from_settings()
            environment = settings.ENVIRONMENT.model_copy(
                update={
                    "caylex_drain_seconds": drain_seconds,
                    "caylex_tasks_per_worker": capacity,
                }
            )
            made.database.close()
            return replace(
                made,
                environment=environment,
                model=model,
                guard=guard,
                catalogues=CatalogueCache(),
                database=database,
                journal=Journal(database),
            )

        engine = Engine(make_resources=resources)
        engine.start()
        started.append((engine, database))
        return engine

    yield begin
    for engine, database in started:
        if engine.join(0) is None:
            engine.abort()
        engine.join(PATIENCE)
        database.join()


def status_of(task: AgentTask) -> str:
    task.refresh_from_db()
    return task.status


def test_it_registers_claims_what_is_due_and_ends_clean(start: StartEngine) -> None:
    task = a_task()
    engine = start(ScriptedModel((text_response("Done."),)))
    eventually(lambda: status_of(task) == Status.COMPLETED, "the task's end")
    assert Worker.objects.get().state == WorkerState.ALIVE
    engine.drain()
    assert engine.join(PATIENCE) == 0
    assert Worker.objects.get().state == WorkerState.GONE


def test_its_sender_tells_the_end_of_a_task_and_connects_to_no_refused_address(
    start: StartEngine,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as receiver:
        receiver.settimeout(PATIENCE)
        webhook = {"url": f"http://127.0.0.1:{receiver.getsockname()[1]}/", "events": []}
        told = a_task(webhook=webhook)
        engine = start(
            ScriptedModel((text_response("Done."),)),
            guard=AddressGuard.of(networks=["127.0.0.0/8"]),
        )
        connection, _ = receiver.accept()
        with connection:
            assert connection.recv(65_536).startswith(b"POST / HTTP/1.1\r\n")
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        taken = WebhookDelivery.objects.filter(task=told, state=DeliveryState.DELIVERED)
        eventually(taken.exists, "the outcome")
        engine.drain()
        assert engine.join(PATIENCE) == 0

        untold = a_task(webhook=webhook)
        start(ScriptedModel((text_response("Done."),)))
        refused = WebhookDelivery.objects.filter(task=untold, attempts=1, last_status=None)
        eventually(refused.exists, "the refusal")
        receiver.settimeout(0)
        with pytest.raises(BlockingIOError):
            receiver.accept()


def test_a_ring_is_answered_at_once_and_the_rows_are_looked_at_without_one(
    start: StartEngine,
) -> None:
    engine = start(ScriptedModel((text_response("One."), text_response("Two."))))
    eventually(Worker.objects.exists, "the worker's row")
    first = a_task()
    engine.wake()
    eventually(lambda: status_of(first) == Status.COMPLETED, "the task that was rung for")
    second = a_task()
    eventually(lambda: status_of(second) == Status.COMPLETED, "the task whose knock was lost")


@pytest.mark.postgresql
def test_a_claim_is_told_to_those_who_wait(
    listener_events: ListenerEvents, start: StartEngine
) -> None:
    task = a_task()
    start(Hanging(()))

    assert list(listener_events.changed.get(timeout=PATIENCE)) == [task.id]


def test_at_the_drains_deadline_what_still_runs_is_handed_back(start: StartEngine) -> None:
    task, model = a_task(), Hanging(())
    engine = start(model, drain_seconds=0.1)
    eventually(lambda: model.requests, "the model's call")
    engine.drain()
    assert engine.join(PATIENCE) == 0
    assert status_of(task) == Status.PENDING
    assert (task.worker_id, task.attempt, task.crashes) == (None, 0, 0)


def test_an_abort_does_not_wait_and_says_so_with_its_code(start: StartEngine) -> None:
    task, model = a_task(), Hanging(())
    engine = start(model, drain_seconds=600.0)
    eventually(lambda: model.requests, "the model's call")
    engine.abort()
    assert engine.join(PATIENCE) == 71
    assert status_of(task) == Status.PENDING


def test_a_cancel_reaches_the_task_in_hand(start: StartEngine) -> None:

    task, model = a_task(), Hanging(())
    start(model)
    eventually(lambda: model.requests, "the model's call")
    cancel.cancel(task_id=task.id, tenant_id=None, reason="enough", now=timezone.now())
    eventually(lambda: status_of(task) == Status.INCOMPLETE, "the cancelled task's end")
    assert task.stop_reason == "cancelled"


def runs(task: AgentTask) -> bool:
    return status_of(task) == Status.RUNNING


@pytest.mark.postgresql
def test_ten_thousand_tasks_of_one_tenant_delay_anothers_one_by_less_than_a_second(
    start: StartEngine,
) -> None:
    endless, model = a_task(), Hanging(())  # each of them runs as long as the test does
    copies(endless, count=10_000)
    start(model, capacity=40, drain_seconds=0.1)
    running = AgentTask.objects.filter(status=Status.RUNNING)
    eventually(lambda: running.count() == 40, "the end of what is open to all")
    eventually(lambda: len(model.requests) == 40, "the model's calls")
    for number in (1, 2):
        began = time.monotonic()
        single = a_task()
        eventually(partial(runs, single), "another tenant's task")
        assert time.monotonic() - began < 1.0
        assert running.filter(tenant=endless.tenant_id).count() == 40
        assert running.count() == 40 + number


def test_tasks_claimed_in_a_commit_whose_answer_was_lost_are_driven_all_the_same(
    start: StartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[uuid.UUID] = []

    def claim_and_lose_the_answer(**values: Any) -> tuple[list[Claim], uuid.UUID]:
        claims, turn = claim_due(**values)
        if claims and not lost:
            lost.extend(claim.task_id for claim in claims)
            raise OperationalError("server closed the connection unexpectedly")
        return claims, turn

    monkeypatch.setattr(module, "claim_due", claim_and_lose_the_answer)
    task = a_task()
    start(ScriptedModel((text_response("Done."),)))
    eventually(lambda: status_of(task) == Status.COMPLETED, "the lost task's end")
    assert lost == [task.id]


def test_a_worker_one_of_whose_duties_breaks_does_not_live_on(
    start: StartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    monkeypatch.setattr(module, "_leave", left.append)

    def broken_sweep() -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(sweep, "sweep", broken_sweep)
    start(ScriptedModel(()))
    eventually(lambda: left, "the end of the process")
    assert left == [75]
