"""Reading claimed tasks: together what was claimed together, and each for itself."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tasks_app.models import AgentTask
from tasks_app.worker.claiming.claim import MAX_CLAIM_BATCH, Claim
from tasks_app.worker.database import Database
from tasks_app.worker.execution import loader
from tasks_app.worker.execution.rebuild import LoadedTask, load_tasks
from tasks_app.worker.journal.journal import Fenced
from tests.support.engine_rows import a_task, a_worker, claim_all
from tests.support.factories import StepFactory


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tasks each reading of the rows was for."""
    sizes: list[int] = []

    def counted(claims: Sequence[Claim], **rest: Any) -> dict[uuid.UUID, LoadedTask]:
        sizes.append(len(claims))
        return load_tasks(claims, **rest)

    monkeypatch.setattr(loader, "load_tasks", counted)
    return sizes


def claims_of(count: int, **values: Any) -> Callable[[], list[Claim]]:
    def make() -> list[Claim]:
        for _ in range(count):
            a_task(**values)
        return claim_all(a_worker(), limit=count)

    return make


def step_of(claim: Claim) -> None:
    StepFactory.create(task=AgentTask.objects.get(pk=claim.task_id), index=1)


async def test_tasks_that_are_asked_for_together_are_read_together(
    database: Database, batches: list[int]
) -> None:
    claims = await database.run(claims_of(3))
    reading = loader.TaskLoader(database)
    records = await asyncio.gather(*map(reading.load, claims))
    assert [record.task.id for record in records] == [claim.task_id for claim in claims]
    assert batches == [3]
    assert (await reading.load(claims[0])).task.id == claims[0].task_id
    assert batches == [3, 1]


async def test_a_reading_is_of_one_slice_at_most(database: Database, batches: list[int]) -> None:
    claims = await database.run(claims_of(MAX_CLAIM_BATCH + 2))
    await asyncio.gather(*map(loader.TaskLoader(database).load, claims))
    assert sorted(batches) == [2, MAX_CLAIM_BATCH]


async def test_a_task_of_somebody_else_drops_out_alone(database: Database) -> None:
    mine, lost = await database.run(claims_of(2))
    stale = replace(lost, epoch=lost.epoch - 1)
    reading = loader.TaskLoader(database)
    found, fenced = await asyncio.gather(
        reading.load(mine), reading.load(stale), return_exceptions=True
    )
    assert isinstance(found, LoadedTask)
    assert found.task.id == mine.task_id
    assert isinstance(fenced, Fenced)


async def test_each_has_its_own_steps(database: Database) -> None:
    fresh, begun = await database.run(claims_of(2))
    await database.run(step_of, begun)
    records = await database.run(load_tasks, [fresh, begun])
    assert list(records[fresh.task_id].steps) == []
    assert [step.index for step in records[begun.task_id].steps] == [1]


async def test_who_gives_up_waiting_takes_nobody_along(database: Database) -> None:
    claims = await database.run(claims_of(2))
    reading = loader.TaskLoader(database)
    first, second = (asyncio.create_task(reading.load(claim)) for claim in claims)
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).task.id == claims[1].task_id
    assert first.cancelled()
