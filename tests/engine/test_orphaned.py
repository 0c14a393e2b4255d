"""A task that runs in the rows runs in a process: whatever breaks, it is let go."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.conf import settings

from agent_runtime.ports import Model
from agent_runtime.testing import ScriptedModel
from tasks_app.models import AgentTask
from tasks_app.states import Status
from tasks_app.worker import engine as module
from tasks_app.worker.engine import Engine
from tasks_app.worker.execution import rebuild
from tasks_app.worker.resources import Resources
from tests.support.engine_rows import a_task

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 10.0


def eventually(look: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Model], Engine]]:
    """Start an engine with a model; it is drained at the end."""
    engines: list[Engine] = []
    made: list[Resources] = []
    monkeypatch.setattr(module, "_leave", lambda code: None)

    def begin(model: Model) -> Engine:
        def resources() -> Resources:
            environment = settings.ENVIRONMENT.model_copy(update={"caylex_drain_seconds": 1.0})
            made.append(replace(Resources.from_settings(), environment=environment, model=model))
            return made[-1]

        engine = Engine(make_resources=resources)
        engine.start()
        engines.append(engine)
        return engine

    yield begin
    for engine in engines:
        engine.abort()
        assert engine.join(PATIENCE) is not None
    for each in made:
        each.database.join()


class Raising(ScriptedModel):
    """A model that lets a cancellation out that nobody asked for."""

    async def complete(self, request: Any) -> Any:
        self.requests.append(request)
        raise asyncio.CancelledError


def status_of(task: AgentTask) -> str:
    task.refresh_from_db()
    return task.status


def test_a_stray_cancellation_does_not_strand_the_task(start: Callable[[Model], Engine]) -> None:
    task, model = a_task(), Raising(())
    start(model)
    eventually(lambda: model.requests, "the model's call")
    eventually(lambda: status_of(task) == Status.PENDING, "the task is let go")
    assert task.attempt == 1


def test_a_task_that_cannot_be_read_is_let_go_all_the_same(
    start: Callable[[Model], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def broken(**values: Any) -> Any:
        asked.append(values)
        raise ZeroDivisionError

    monkeypatch.setattr(rebuild, "accesses_for", broken)
    task = a_task()
    start(ScriptedModel(()))
    eventually(lambda: asked, "the reading")
    eventually(lambda: status_of(task) == Status.PENDING, "the task is let go")
    assert task.attempt == 1
