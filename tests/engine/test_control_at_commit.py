"""A cancel and a pause are looked at in the very commit that starts a call."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone

from agent_runtime.messages import CallState
from agent_runtime.testing import FakeTools, ScriptedModel, text_response, tool_call_response
from tasks_app.models import AgentTask, Event, Step, ToolCall
from tasks_app.operations.cancel import cancel
from tasks_app.operations.locked import locked_task
from tasks_app.states import Status
from tasks_app.worker.database import Database
from tasks_app.worker.execution.control import read_control_snapshot
from tasks_app.worker.journal.entries import CallChange, Stopped
from tasks_app.worker.journal.journal import Journal
from tasks_app.worker.journal.write import write_entries
from tests.engine.test_journal import a_call, a_step, an_entry
from tests.support.engine_rows import (
    a_driver,
    a_task,
    a_worker,
    claim_all,
    claimed_task,
    drive,
    take,
)

pytestmark = pytest.mark.django_db(transaction=True)

TRIES = 12
LOOK_EVERY = 0.5  # seconds: how often a worker reads what its tasks are told


def ask_to_stop(task: AgentTask) -> int:
    """Cancel a task and return the sequence on which the cancel was committed."""
    with transaction.atomic():
        sequence = locked_task(task_id=task.id, tenant_id=None).sequence
        cancel(task_id=task.id, tenant_id=None, reason="enough", now=timezone.now())
    return sequence


def pause_project(task: AgentTask) -> None:
    task.project.paused = True
    task.project.save()


def pause_tenant(task: AgentTask) -> None:
    task.tenant.paused = True
    task.tenant.save()


def disable_project(task: AgentTask) -> None:
    task.project.disabled_at = timezone.now()
    task.project.save()


def disable_tenant(task: AgentTask) -> None:
    task.tenant.disabled_at = timezone.now()
    task.tenant.save()


def disable_user(task: AgentTask) -> None:
    task.end_user.disabled_at = timezone.now()
    task.end_user.save()


CONTROLS: Mapping[str, tuple[Callable[[AgentTask], Any], str | None]] = {
    "cancelled": (ask_to_stop, "enough"),
    "project paused": (pause_project, None),
    "tenant paused": (pause_tenant, None),
    "project disabled": (disable_project, None),
    "tenant disabled": (disable_tenant, None),
    "end user disabled": (disable_user, None),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_an_entry_that_starts_a_call_is_refused_and_writes_nothing(control: str) -> None:
    task, claim = claimed_task()
    stop, reason = CONTROLS[control]
    stop(task)
    started = an_entry(task, claim, step=a_step(), calls=(a_call(state=CallState.STARTED),))
    for _ in range(2):  # the second as after an unknown outcome
        outcome = write_entries([started])[task.id]
        assert isinstance(outcome, Stopped)
        assert outcome.reason == reason
    assert Step.objects.count() == ToolCall.objects.count() == 0
    before = task.sequence
    task.refresh_from_db()
    assert (task.status, task.sequence, task.steps_completed) == (Status.RUNNING, before, 0)


@pytest.mark.parametrize("control", CONTROLS)
def test_an_entry_that_starts_nothing_lands(control: str) -> None:
    task, claim = claimed_task()
    CONTROLS[control][0](task)
    planned = an_entry(task, claim, step=a_step(), calls=(a_call(state=CallState.PLANNED),))
    assert write_entries([planned]) == {task.id: task.sequence + 1}
    assert ToolCall.objects.get().state == "planned"


def test_a_planned_call_is_not_started_either() -> None:
    task, claim = claimed_task()
    call = a_call(state=CallState.PLANNED)
    write_entries([an_entry(task, claim, step=a_step(), calls=(call,))])
    task.refresh_from_db()
    ask_to_stop(task)
    change = CallChange(id=call.id, state=CallState.STARTED)
    outcome = write_entries([an_entry(task, claim, changes=(change,), sent_calls=1)])[task.id]
    assert isinstance(outcome, Stopped)
    assert ToolCall.objects.get().state == "planned"


def test_in_a_group_the_refused_one_drops_out_alone() -> None:
    tasks = [a_task() for _ in range(3)]
    claims = {claim.task_id: claim for claim in claim_all(a_worker())}
    for task in tasks:
        task.refresh_from_db()
    ask_to_stop(tasks[1])
    outcomes = write_entries(
        [
            an_entry(task, claims[task.id], step=a_step(), calls=(a_call(state=CallState.STARTED),))
            for task in tasks
        ]
    )
    assert [isinstance(outcomes[task.id], Stopped) for task in tasks] == [False, True, False]
    assert {*Step.objects.values_list("task_id", flat=True)} == {tasks[0].id, tasks[2].id}


def test_what_had_landed_before_the_cancel_counts_as_landed() -> None:
    task, claim = claimed_task()
    entry = an_entry(task, claim, step=a_step(), calls=(a_call(state=CallState.STARTED),))
    landed = write_entries([entry])
    ask_to_stop(task)
    assert write_entries([entry]) == landed == {task.id: 3}
    assert Step.objects.count() == 1


def test_another_owners_entry_is_fenced_and_not_stopped() -> None:
    task, claim = claimed_task()
    ask_to_stop(task)
    calls = (a_call(state=CallState.STARTED),)
    assert write_entries([an_entry(task, claim, sequence=9, step=a_step(), calls=calls)]) == {}


@pytest.mark.postgresql
def test_a_write_that_waits_for_the_commit_of_a_cancel_sees_it() -> None:
    task, claim = claimed_task()
    outcomes: list[Any] = []
    entry = an_entry(task, claim, step=a_step(), calls=(a_call(state=CallState.STARTED),))

    def write() -> None:
        try:
            outcomes.append(write_entries([entry])[task.id])
        finally:
            connections.close_all()

    writing = threading.Thread(target=write)
    with transaction.atomic():
        cancel(task_id=task.id, tenant_id=None, reason="enough", now=timezone.now())
        writing.start()
        writing.join(0.5)
        assert outcomes == [], "it did not wait for the row"
    writing.join(30)
    assert isinstance(outcomes[0], Stopped)
    assert outcomes[0].reason == "enough"
    assert ToolCall.objects.count() == 0


async def test_the_answer_is_kept_and_none_of_its_calls_is_sent(database: Database) -> None:
    task, claim = await database.run(claimed_task)

    async def cancel_it() -> None:
        await database.run(ask_to_stop, task)

    tools = FakeTools({"write": lambda _: "written"})
    model = ScriptedModel(
        (tool_call_response(*[("fake__write", {"n": n}) for n in range(11)]),), gate=cancel_it
    )
    await drive(database, model, tools, claim)
    await database.run(task.refresh_from_db)
    assert (task.status, task.stop_reason, task.steps_completed) == ("INCOMPLETE", "cancelled", 1)
    assert (tools.sent, task.tool_calls_made) == ([], 0)
    assert "the task was cancelled: enough." in (task.report or "")
    calls = await database.run(
        lambda: {*ToolCall.objects.values_list("state", "result", "started_sequence")}
    )
    assert calls == {("cancelled", "Not sent: the task was stopped.", None)}


async def test_a_pause_hands_back_with_the_answer_and_the_next_owner_sends_its_calls(
    database: Database,
) -> None:
    task, claim = await database.run(claimed_task)

    async def pause() -> None:
        await database.run(pause_project, task)

    tools = FakeTools({"write": lambda _: "written"})
    calls = tool_call_response(("fake__write", {"n": 1}), ("fake__write", {"n": 2}))
    await drive(database, ScriptedModel((calls,), gate=pause), tools, claim)
    await database.run(task.refresh_from_db)
    assert (task.status, task.steps_completed, task.attempt) == (Status.PENDING, 1, 0)
    assert tools.sent == []

    def resume() -> Any:
        task.project.paused = False
        task.project.save()
        return claim_all(a_worker())[0]

    claim = await database.run(resume)
    await drive(database, ScriptedModel((text_response("Done."),)), tools, claim)
    await database.run(task.refresh_from_db)
    assert (task.status, task.tool_calls_made, len(tools.sent)) == (Status.COMPLETED, 2, 2)
    kinds = await database.run(
        lambda: [*Event.objects.order_by("sequence").values_list("kind", flat=True)]
    )
    assert kinds == ["started", "handed_back", "resumed", "completed"]


async def play_and_cancel(database: Database, dice: random.Random) -> tuple[int, int, int]:
    """Cancel a task in the middle of many quick calls, from another thread.

    Returns how many calls were started before and after the cancel's commit, and how many were
    sent. The owner reads twice a second who was asked to stop, as a worker does.
    """
    task, claim = await database.run(claimed_task)
    committed: list[int] = []

    async def quick(_: Mapping[str, Any]) -> str:
        await asyncio.sleep(dice.choice([0.0, 0.002, 0.005]))
        return "written"

    def cancel_soon() -> None:
        try:
            committed.append(ask_to_stop(task))
        finally:
            connections.close_all()

    turns = [
        tool_call_response(
            *[("fake__write", {"turn": turn, "n": n}) for n in range(dice.choice([1, 2, 12]))]
        )
        for turn in range(150)
    ]
    tools = FakeTools({"write": quick})
    held = await take(database, claim, tools, Journal(database))
    timer = threading.Timer(dice.uniform(0.05, 0.4), cancel_soon)

    async def tell() -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            assert worker_id is not None
            notices = await database.run(read_control_snapshot, worker_id=worker_id)
            for reason in notices.cancels.values():
                held.cancel(reason)

    worker_id = (await database.run(lambda: AgentTask.objects.get(pk=task.pk))).worker_id
    telling = asyncio.create_task(tell())
    timer.start()
    try:
        await a_driver(ScriptedModel((*turns, text_response("It was not stopped.")))).drive(held)
    finally:
        telling.cancel()
        timer.join()
    started = await database.run(
        lambda: [
            *ToolCall.objects.filter(step__task=task, started_sequence__isnull=False).values_list(
                "started_sequence", flat=True
            )
        ]
    )
    await database.run(task.refresh_from_db)
    assert (task.status, task.stop_reason) == ("INCOMPLETE", "cancelled")
    before = sum(number is not None and number <= committed[0] for number in started)
    return before, len(started) - before, len(tools.sent)


async def test_no_call_is_started_after_the_commit_of_a_cancel_however_often_it_is_tried(
    database: Database,
) -> None:
    dice = random.Random(7)
    outcomes = [await play_and_cancel(database, dice) for _ in range(TRIES)]
    assert [after for _, after, _ in outcomes] == [0] * TRIES
    assert [sent for _, _, sent in outcomes] == [before for before, _, _ in outcomes]
    assert all(before > 0 for before, _, _ in outcomes), "a cancel came before the first call"
