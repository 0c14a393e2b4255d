"""Cancelling stops a task at a safe point; a retry goes on from the last completed step."""

import asyncio
import datetime
import uuid
from collections.abc import Mapping
from typing import Any

import pytest
from django.utils import timezone

from agent_runtime.errors import ModelRefused
from agent_runtime.testing import FakeTools, ScriptedModel, text_response, tool_call_response
from tasks_app.models import AgentTask, Event, ToolCall
from tasks_app.operations import cancel as stop
from tasks_app.operations import locked, runs
from tasks_app.states import Status
from tasks_app.worker.database import Database
from tasks_app.worker.journal.journal import Fenced, Journal
from tasks_app.worker.maintenance.sweep import sweep
from tests.support.engine_rows import (
    a_driver,
    a_task,
    a_worker,
    claim_all,
    claimed_task,
    drive,
    take,
)
from tests.support.factories import TenantFactory


def cancel(task: AgentTask, *, reason: str = "no longer needed") -> bool:
    return stop.cancel(task_id=task.id, tenant_id=task.tenant_id, reason=reason, now=timezone.now())


def retry(task: AgentTask) -> None:
    runs.retry(task_id=task.id, tenant_id=task.tenant_id, now=timezone.now())


@pytest.mark.django_db(transaction=True)
def test_a_waiting_task_ends_at_once_and_its_report_says_that_nothing_was_done() -> None:
    task = a_task()
    assert cancel(task) is True
    task.refresh_from_db()
    assert (task.status, task.stop_reason, task.epoch) == (Status.INCOMPLETE, "cancelled", 1)
    assert task.report is not None
    assert "the task was cancelled: no longer needed." in task.report
    assert "Nothing had been done." in task.report
    assert task.final_report_produced is False
    assert claim_all(a_worker()) == []


@pytest.mark.django_db(transaction=True)
def test_cancelling_again_or_after_the_end_changes_nothing() -> None:
    task = a_task()
    cancel(task)
    task.refresh_from_db()
    before = (task.epoch, task.sequence, task.report, task.completed_at)
    assert cancel(task, reason="another") is False
    task.refresh_from_db()
    assert (task.epoch, task.sequence, task.report, task.completed_at) == before


@pytest.mark.django_db(transaction=True)
def test_another_tenants_task_is_not_found() -> None:
    task, other = a_task(), TenantFactory.create()
    for operation in (
        lambda: stop.cancel(task_id=task.id, tenant_id=other.id, reason="", now=timezone.now()),
        lambda: runs.retry(task_id=task.id, tenant_id=other.id, now=timezone.now()),
        lambda: runs.retry(task_id=uuid.uuid4(), tenant_id=None, now=timezone.now()),
    ):
        with pytest.raises(locked.TaskNotFound):
            operation()
    task.refresh_from_db()
    assert task.status == Status.PENDING


async def drive_and_cancel(
    database: Database, task: AgentTask, claim: Any, model: ScriptedModel, tools: FakeTools
) -> None:
    """Drive a task and ask it to stop as the engine does when it sees the row."""
    held = await take(database, claim, tools, Journal(database))
    tools.cancel = lambda: held.cancel("enough")  # type: ignore[attr-defined]
    await a_driver(model).drive(held)
    await database.run(task.refresh_from_db)


async def test_a_model_call_in_flight_is_aborted(database: Database) -> None:
    task, claim = await database.run(claimed_task)
    aborted = asyncio.Event()
    tools = FakeTools()

    async def hang() -> None:
        tools.cancel()  # type: ignore[attr-defined]
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            aborted.set()
            raise

    model = ScriptedModel((text_response("never"),), gate=hang)
    await drive_and_cancel(database, task, claim, model, tools)
    assert aborted.is_set()
    assert (task.status, task.stop_reason, task.steps_completed) == (
        Status.INCOMPLETE,
        "cancelled",
        0,
    )


async def test_calls_on_the_wire_get_a_moment_and_are_then_named_for_what_they_are(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_app.worker.execution.tool_calls.CANCEL_GRACE_SECONDS", 0.05)
    task, claim = await database.run(claimed_task)
    tools: FakeTools

    async def hang(_: Mapping[str, Any]) -> str:
        await asyncio.Event().wait()
        return "never"

    async def quick(_: Mapping[str, Any]) -> str:
        tools.cancel()  # type: ignore[attr-defined]
        await asyncio.sleep(0.01)
        return "done"

    tools = FakeTools({"write": hang, "read": hang, "quick": quick}, repeatable=["read"])
    many = [("fake__write", {"n": number}) for number in range(8)]
    script = (
        tool_call_response(("fake__quick", {}), ("fake__write", {}), ("fake__read", {}), *many),
    )
    await drive_and_cancel(database, task, claim, ScriptedModel(script), tools)
    states = await database.run(
        lambda: list(ToolCall.objects.order_by("index").values_list("state", flat=True))
    )
    assert states[:3] == ["succeeded", "unknown_outcome", "cancelled"]
    assert states[8:] == ["cancelled"] * 3, "calls over the cap were never sent"
    assert len(tools.sent) == 8
    assert (task.status, task.stop_reason) == (Status.INCOMPLETE, "cancelled")
    assert task.report is not None
    assert "Tool calls that succeeded: fake__quick." in task.report
    assert "the outcome of these tool calls is unknown" in task.report


@pytest.mark.django_db(transaction=True)
def test_a_running_task_whose_owner_does_not_answer_is_ended_by_the_sweep() -> None:
    task, _ = claimed_task()
    now = timezone.now()
    assert cancel(task) is True
    task.refresh_from_db()
    assert task.status == Status.RUNNING
    sweep(now=now + datetime.timedelta(seconds=1))
    task.refresh_from_db()
    assert task.status == Status.RUNNING
    sweep(now=now + datetime.timedelta(seconds=3))
    task.refresh_from_db()
    assert (task.status, task.stop_reason, task.epoch) == (Status.INCOMPLETE, "cancelled", 2)


async def test_an_owner_that_answers_too_late_is_fenced(database: Database) -> None:
    task, claim = await database.run(claimed_task)

    async def ended_meanwhile() -> None:
        def end() -> None:
            cancel(task)
            sweep(now=timezone.now() + datetime.timedelta(seconds=3))

        await database.run(end)

    model = ScriptedModel((text_response("Done."),), gate=ended_meanwhile)
    with pytest.raises(Fenced):
        await drive(database, model, FakeTools(), claim)
    await database.run(task.refresh_from_db)
    assert (task.status, task.steps_completed) == (Status.INCOMPLETE, 0)


async def test_a_failed_task_that_is_retried_goes_on_from_its_last_step(
    database: Database,
) -> None:
    task, claim = await database.run(claimed_task)
    tools = FakeTools({"search": lambda _: "one ticket"})
    first = ScriptedModel(
        (tool_call_response(("fake__search", {"q": 1})), ModelRefused("Add credit."))
    )
    await drive(database, first, tools, claim)
    await database.run(task.refresh_from_db)
    assert task.status == Status.FAILED

    await database.run(retry, task)
    await database.run(task.refresh_from_db)
    assert (task.status, task.run_number, task.error, task.completed_at) == (
        Status.PENDING,
        2,
        None,
        None,
    )
    (claim,) = await database.run(lambda: claim_all(a_worker()))
    second = ScriptedModel((text_response("Done after all."),))
    await drive(database, second, tools, claim)
    await database.run(task.refresh_from_db)
    assert (task.status, task.report) == (Status.COMPLETED, "Done after all.")
    assert len(tools.sent) == 1, "the first run's call was made again"
    wires = [message.wire for message in second.requests[0].messages]
    assert len(wires) == 5
    assert b"one ticket" in wires[3]
    assert b"ended because the task failed (Add credit.)" in wires[4]
    steps = await database.run(lambda: sorted(task.steps.values_list("run_number", "index")))
    assert steps == [(1, 1), (2, 1)]
    kinds = await database.run(
        lambda: list(Event.objects.order_by("sequence").values_list("kind", flat=True))
    )
    assert kinds == ["started", "failed", "retried", "resumed", "completed"]


async def test_a_cancelled_task_can_be_retried_and_its_doubtful_call_stays_told(
    database: Database,
) -> None:
    task, claim = await database.run(claimed_task)
    sent = asyncio.Event()

    async def hang(_: Mapping[str, Any]) -> str:
        sent.set()
        await asyncio.Event().wait()
        return "never"

    driving = asyncio.create_task(
        drive(
            database,
            ScriptedModel((tool_call_response(("fake__write", {})),)),
            FakeTools({"write": hang}),
            claim,
        )
    )
    await sent.wait()
    driving.cancel()
    await asyncio.gather(driving, return_exceptions=True)

    def cancel_without_owner_and_retry() -> None:
        cancel(task)
        sweep(now=timezone.now() + datetime.timedelta(seconds=3))
        retry(task)

    await database.run(cancel_without_owner_and_retry)
    (claim,) = await database.run(lambda: claim_all(a_worker()))
    tools, model = FakeTools({"write": lambda _: "no"}), ScriptedModel((text_response("Done."),))
    await drive(database, model, tools, claim)
    await database.run(task.refresh_from_db)
    assert tools.sent == []
    assert b"may or may not have happened" in model.requests[0].messages[3].wire
    assert task.report is not None
    assert "the outcome of these tool calls is unknown" in task.report


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING, Status.COMPLETED])
def test_only_a_task_that_failed_or_is_incomplete_can_be_retried(status: Status) -> None:
    values: dict[str, Any] = {}
    if status == Status.COMPLETED:
        values = {
            "report": "Done.",
            "stop_reason": "final_report",
            "completed_at": timezone.now(),
        }
    if status == Status.RUNNING:
        values = {"worker": a_worker()}
    task = a_task(status=status, **values)
    with pytest.raises(runs.RetryRefused):
        retry(task)
    task.refresh_from_db()
    assert (task.status, task.run_number) == (status, 1)
