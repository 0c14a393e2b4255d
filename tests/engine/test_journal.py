"""The journal's write: fenced task by task, safe to try again, in groups."""

import asyncio
import threading
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from django.db import DataError, IntegrityError, OperationalError, connection
from django.utils import timezone

from agent_runtime.messages import CallState, Usage
from agent_runtime.outcome import StopReason
from tasks_app.models import AgentTask, Event, Step, ToolCall
from tasks_app.states import Status
from tasks_app.worker.claiming.claim import Claim
from tasks_app.worker.database import Database
from tasks_app.worker.journal.entries import CallChange, Entry, NewCall, NewStep, Release
from tasks_app.worker.journal.journal import BATCH, Fenced, Journal
from tasks_app.worker.journal.write import write_entries
from tests.support.engine_rows import a_task, a_worker, claim_all, claimed_task

pytestmark = pytest.mark.django_db(transaction=True)


def a_step(*, index: int = 1, cost: float | None = None) -> NewStep:
    now = timezone.now()
    return NewStep(
        id=uuid.uuid4(),
        run_number=1,
        index=index,
        request={"schema": 1, "notes": ["a note"]},
        response={"role": "assistant", "content": 'Ünïcode "quoted" \\ text', "x_unknown": [1.5]},
        finish_reason="stop",
        model="scripted",
        provider_request_id="req-1",
        usage=Usage(input_tokens=7, output_tokens=3, cached_input_tokens=2, cost_usd=cost),
        started_at=now,
        completed_at=now,
    )


def a_call(*, state: CallState, result: str | None = None, index: int = 0) -> NewCall:
    return NewCall(
        id=uuid.uuid4(),
        index=index,
        call_id="call_0",
        name="fake__search",
        server="fake",
        tool="search",
        arguments='{"q": 1}',
        repeatable=False,
        refused=False,
        state=state,
        result=result,
    )


def an_entry(task: AgentTask, claim: Claim, **values: Any) -> Entry:
    return Entry(
        task_id=task.id,
        epoch=claim.epoch,
        sequence=values.pop("sequence", task.sequence),
        at=timezone.now(),
        **values,
    )


def test_a_step_and_its_calls_land_together() -> None:
    task, claim = claimed_task(crashes=1, attempt=1)
    step = a_step(cost=0.25)
    started, planned = a_call(state=CallState.STARTED), a_call(state=CallState.PLANNED, index=1)
    entry = an_entry(task, claim, step=step, calls=(started, planned), sent_calls=1, progress=True)
    assert write_entries([entry]) == {task.id: 3}
    task.refresh_from_db()
    assert (task.status, task.epoch, task.sequence) == (Status.RUNNING, 1, 3)
    assert (task.steps_completed, task.tool_calls_made) == (1, 1)
    assert (task.crashes, task.attempt) == (0, 0)
    assert (task.input_tokens, task.output_tokens, task.cached_input_tokens) == (7, 3, 2)
    assert float(task.cost_usd or 0) == 0.25
    row = Step.objects.get()
    assert row.response == step.response
    assert row.usage["cost_usd"] == 0.25
    assert list(ToolCall.objects.order_by("index").values_list("state", "started_sequence")) == [
        ("started", 3),
        ("planned", None),
    ]


def test_costs_add_up_and_no_cost_stays_null() -> None:
    task, claim = claimed_task()
    write_entries([an_entry(task, claim, step=a_step())])
    task.refresh_from_db()
    assert task.cost_usd is None
    for index in (2, 3):
        write_entries([an_entry(task, claim, step=a_step(index=index, cost=0.5))])
        task.refresh_from_db()
    assert float(task.cost_usd or 0) == 1.0


def test_results_change_calls_and_start_the_planned() -> None:
    task, claim = claimed_task()
    first, second = a_call(state=CallState.STARTED), a_call(state=CallState.PLANNED, index=1)
    write_entries([an_entry(task, claim, step=a_step(), calls=(first, second), sent_calls=1)])
    task.refresh_from_db()
    changes = (
        CallChange(id=first.id, state=CallState.SUCCEEDED, result="found"),
        CallChange(id=second.id, state=CallState.STARTED),
    )
    assert write_entries([an_entry(task, claim, changes=changes, sent_calls=1)]) == {task.id: 5}
    rows = ToolCall.objects.order_by("index")
    assert list(rows.values_list("state", "result", "started_sequence", "completed_sequence")) == [
        ("succeeded", "found", 3, 4),
        ("started", None, 5, None),
    ]
    assert all(row.started_at for row in rows)


def test_the_end_releases_the_task() -> None:
    task, claim = claimed_task()
    release = Release(
        status=Status.COMPLETED,
        event="completed",
        stop_reason=StopReason.FINAL_REPORT,
        report="Done.",
        final_report_produced=True,
    )
    write_entries([an_entry(task, claim, step=a_step(), release=release)])
    task.refresh_from_db()
    assert (task.status, task.report, task.worker_id, task.epoch) == (
        Status.COMPLETED,
        "Done.",
        None,
        2,
    )
    assert task.completed_at is not None
    assert list(Event.objects.order_by("sequence").values_list("kind", flat=True)) == [
        "started",
        "completed",
    ]


@pytest.mark.parametrize("wrong", [{"epoch": 0}, {"epoch": 2}, {"sequence": 0}, {"sequence": 9}])
def test_an_entry_with_another_epoch_or_sequence_writes_nothing(wrong: dict[str, Any]) -> None:
    task, claim = claimed_task()
    entry = an_entry(task, claim, step=a_step(), calls=(a_call(state=CallState.STARTED),))
    assert write_entries([replace(entry, **wrong)]) == {}
    assert Step.objects.count() == ToolCall.objects.count() == 0
    task.refresh_from_db()
    assert task.steps_completed == 0


def test_in_a_group_a_fenced_entry_drops_out_alone() -> None:
    tasks = [a_task() for _ in range(3)]
    claims = {claim.task_id: claim for claim in claim_all(a_worker())}
    for task in tasks:
        task.refresh_from_db()
    entries = [an_entry(task, claims[task.id], step=a_step()) for task in tasks]
    entries[1] = replace(entries[1], epoch=7)
    assert set(write_entries(entries)) == {tasks[0].id, tasks[2].id}
    assert set(Step.objects.values_list("task_id", flat=True)) == {tasks[0].id, tasks[2].id}


def test_a_write_whose_outcome_was_unknown_counts_as_landed_and_is_not_repeated() -> None:
    task, claim = claimed_task()
    entry = an_entry(task, claim, step=a_step(), calls=(a_call(state=CallState.STARTED),))
    assert write_entries([entry]) == write_entries([entry]) == {task.id: 3}
    assert Step.objects.count() == 1
    task.refresh_from_db()
    assert (task.steps_completed, task.input_tokens) == (1, 7)


def test_a_release_that_had_landed_counts_as_landed() -> None:
    task, claim = claimed_task()
    entry = an_entry(
        task, claim, release=Release(status=Status.PENDING, event="handed_back", wait=0.0)
    )
    assert write_entries([entry]) == write_entries([entry]) == {task.id: 2}
    assert Event.objects.filter(kind="handed_back").count() == 1


async def test_what_is_ready_is_committed_together(database: Database) -> None:
    batches: list[int] = []
    may_land = threading.Event()

    def write(entries: Sequence[Entry]) -> dict[uuid.UUID, int]:
        batches.append(len(entries))
        may_land.wait()
        return {entry.task_id: 1 for entry in entries}

    journal = Journal(database, write=write)
    commits = [
        asyncio.create_task(
            journal.commit(Entry(task_id=uuid.uuid4(), epoch=1, sequence=0, at=timezone.now()))
        )
        for _ in range(100)
    ]
    await asyncio.sleep(0)
    may_land.set()
    assert await asyncio.gather(*commits) == [1] * 100
    assert batches[:2] == [1, 1]  # both flights left at once, with what was there
    assert batches[2:] == [BATCH, 34]


async def test_while_the_database_is_away_a_commit_waits(database: Database) -> None:
    outcomes: list[Any] = [OperationalError("away"), OperationalError("away"), None]

    def write(entries: Sequence[Entry]) -> dict[uuid.UUID, int]:
        outcome = outcomes.pop(0)
        if outcome:
            raise outcome
        return {entry.task_id: 5 for entry in entries}

    entry = Entry(task_id=uuid.uuid4(), epoch=1, sequence=0, at=timezone.now())
    assert await Journal(database, write=write).commit(entry) == 5
    assert outcomes == []


@pytest.mark.parametrize("refusal", [DataError("no"), TypeError("a defect of ours")])
async def test_an_entry_that_cannot_be_written_fails_alone(
    database: Database, refusal: Exception
) -> None:
    def write(entries: Sequence[Entry]) -> dict[uuid.UUID, int]:
        if any(entry.attempt == 13 for entry in entries):
            raise refusal
        return {entry.task_id: 1 for entry in entries}

    journal = Journal(database, write=write)
    entries = [
        Entry(task_id=uuid.uuid4(), epoch=1, sequence=0, at=timezone.now(), attempt=number)
        for number in range(20)
    ]
    outcomes = await asyncio.gather(*map(journal.commit, entries), return_exceptions=True)
    assert outcomes.pop(13) is refusal
    assert outcomes == [1] * 19


async def test_a_commit_of_a_task_that_was_taken_over_raises(database: Database) -> None:
    entry = Entry(task_id=uuid.uuid4(), epoch=1, sequence=0, at=timezone.now())
    with pytest.raises(Fenced):
        await Journal(database).commit(entry)


def test_the_database_itself_refuses_a_running_task_without_a_worker() -> None:
    task = a_task()
    with pytest.raises(IntegrityError):
        AgentTask.objects.filter(pk=task.pk).update(status=Status.RUNNING)
    with pytest.raises(IntegrityError):
        AgentTask.objects.filter(pk=task.pk).update(status=Status.COMPLETED)
    assert connection.is_usable()
