"""The engine's account: what a task that fails or is broken off had done, wherever it ends."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agent_runtime.errors import ModelError, ModelRefused, ModelUnavailable
from agent_runtime.messages import CallState, ModelAnswer, ToolResult, Usage
from agent_runtime.report import MAX_NAMED, facts_of
from agent_runtime.testing import FakeTools, ScriptedModel, text_response, tool_call_response
from tasks_app.failures import BROKE, FATAL
from tasks_app.models import AgentTask, ToolCall
from tasks_app.operations import runs
from tasks_app.operations.cancel import cancel
from tasks_app.operations.terminate import end_failed
from tasks_app.queries.history import history_of
from tasks_app.queries.run_facts import facts_of_rows
from tasks_app.queries.run_transcript import transcript_of
from tasks_app.states import Status, WorkerState
from tasks_app.worker.claiming.claim import Claim
from tasks_app.worker.claiming.quarantine import FATAL_AT
from tasks_app.worker.database import Database
from tasks_app.worker.maintenance.reclaim import end_worker, free_broken
from tasks_app.worker.maintenance.sweep import sweep
from tests.support.engine_rows import LIMITS, a_task, a_worker, claim_all, claimed_task, drive
from tests.support.factories import StepFactory, ToolCallFactory

BEGINNING = "The agent wrote no report; this account is the engine's. It stopped because "
DONE = (
    "Tool calls that succeeded: fake__search (2). Tool calls that failed: fake__broken. "
    "Its last words: I look."
)
LEFT = (
    "Tool calls that succeeded: fake__search. Tool calls that were not completed (not sent, or "
    "safe to repeat): fake__read (8)."
    "\n\nNote of the engine: the outcome of these tool calls is unknown; they may or may not have "
    "happened and were not repeated: fake__write."
)
UNAVAILABLE = ModelUnavailable("The model provider answered HTTP 503.")
REFUSED = ModelRefused("The model provider wants to be paid (HTTP 402).")


def tools() -> FakeTools:
    """Tools that answer, that answer with an error, and that never answer."""

    async def hang(_: Mapping[str, Any]) -> str:
        await asyncio.Event().wait()
        return "never"

    return FakeTools(
        {
            "search": lambda _: "found",
            "broken": lambda _: ToolResult(text="boom", state=CallState.FAILED),
            "write": hang,
            "read": hang,
        },
        repeatable=["read"],
    )


def first_step() -> ModelAnswer:
    """Words beside three calls, all of which are answered."""
    answer = tool_call_response(
        ("fake__search", {"q": 1}), ("fake__search", {"q": 2}), ("fake__broken", {})
    )
    return dataclasses.replace(
        answer, text="I look.", message={**answer.message, "content": "I look."}
    )


async def lose_the_owner(database: Database, claim: Claim) -> None:
    """Drive a task into ten calls and lose its owner when one is answered and one not sent."""
    reads = [("fake__read", {"n": number}) for number in range(8)]
    script = (tool_call_response(("fake__search", {}), ("fake__write", {}), *reads),)
    driving = asyncio.create_task(drive(database, ScriptedModel(script), tools(), claim))
    answered = ToolCall.objects.filter(state=CallState.SUCCEEDED)
    async with asyncio.timeout(30):
        while not await database.run(answered.exists):
            await asyncio.sleep(0.01)
    driving.cancel()
    await asyncio.gather(driving, return_exceptions=True)


@pytest.mark.parametrize(
    ("fault", "attempt", "error"),
    [
        (UNAVAILABLE, 4, f"{UNAVAILABLE} Given up after 5 attempts in a row."),
        (REFUSED, 0, str(REFUSED)),
    ],
)
async def test_a_task_that_fails_at_the_model_says_what_it_had_done(
    database: Database, fault: ModelError, attempt: int, error: str
) -> None:
    task, claim = await database.run(claimed_task)
    await drive(database, ScriptedModel((first_step(), UNAVAILABLE)), tools(), claim)
    await database.run(lambda: AgentTask.objects.update(attempt=attempt, next_attempt_at=_past()))
    (claim,) = await database.run(lambda: claim_all(a_worker()))

    await drive(database, ScriptedModel((fault,)), tools(), claim)

    await database.run(task.refresh_from_db)
    assert (task.status, task.stop_reason, task.error) == (Status.FAILED, "error", error)
    assert task.report == f"{BEGINNING}the task failed: {error} {DONE}"
    assert task.final_report_produced is False
    assert task.tool_calls_made == 3


def _past() -> datetime.datetime:
    return timezone.now() - datetime.timedelta(seconds=1)


def by_defects(task: AgentTask, claim: Claim) -> str:
    """Give the task up as the engine does after a defect of its own."""
    free_broken(claim=claim, max_attempts=1, now=timezone.now())
    return f"the task failed: {BROKE} Given up after 1 attempts in a row."


def by_crashes(task: AgentTask, claim: Claim) -> str:
    """Let it end its worker once too often."""
    AgentTask.objects.update(crashes=FATAL_AT - 1)
    task.refresh_from_db()
    assert task.worker_id is not None
    end_worker(worker_id=task.worker_id, state=WorkerState.DEAD, now=timezone.now())
    return f"the task failed: {FATAL}"


def by_the_sweep(task: AgentTask, claim: Claim) -> str:
    """Cancel it while nobody answers for it."""
    cancel(task_id=task.id, tenant_id=None, reason="enough", now=timezone.now())
    sweep(now=timezone.now() + datetime.timedelta(seconds=3))
    return "the task was cancelled: enough."


ENDS = [by_defects, by_crashes, by_the_sweep]


@pytest.mark.parametrize("end", ENDS)
async def test_a_task_that_is_ended_from_its_rows_says_what_is_done_in_doubt_and_not_done(
    database: Database, end: Callable[[AgentTask, Claim], str]
) -> None:
    task, claim = await database.run(claimed_task)
    await lose_the_owner(database, claim)

    why = await database.run(end, task, claim)

    await database.run(task.refresh_from_db)
    assert task.report == f"{BEGINNING}{why} {LEFT}"
    assert task.final_report_produced is False
    calls = await database.run(lambda: list(ToolCall.objects.exclude(name="fake__search")))
    left = Counter((each.name, each.started_at is not None, each.result) for each in calls)
    stopped = "The task was stopped before an answer came."
    assert left == {
        ("fake__write", True, f"{stopped} It may or may not have happened."): 1,
        ("fake__read", True, f"{stopped} Repeating the call does no harm."): 7,
        ("fake__read", False, "Not sent: the task was stopped."): 1,
    }


@pytest.mark.parametrize("end", [by_defects, by_crashes])
def test_a_task_that_fails_before_its_first_step_has_no_report(
    transactional_db: None, end: Callable[[AgentTask, Claim], str]
) -> None:
    task, claim = claimed_task()
    end(task, claim)
    task.refresh_from_db()
    assert (task.status, task.report, task.final_report_produced) == (Status.FAILED, None, False)


async def test_a_run_that_fails_before_its_first_step_tells_of_the_runs_before_it(
    database: Database,
) -> None:
    task, claim = await database.run(claimed_task)
    await drive(database, ScriptedModel((first_step(), REFUSED)), tools(), claim)
    await database.run(lambda: runs.retry(task_id=task.id, tenant_id=None, now=_past()))
    await database.run(task.refresh_from_db)
    assert (task.report, task.error, task.final_report_produced) == (None, None, None)
    (claim,) = await database.run(lambda: claim_all(a_worker()))

    await drive(database, ScriptedModel((ModelRefused("Check the key."),)), tools(), claim)

    await database.run(task.refresh_from_db)
    assert task.report == (
        f"{BEGINNING}the task failed: Check the key. Tool calls that succeeded: fake__search (2). "
        "Tool calls that failed: fake__broken."
    )


async def test_a_retry_clears_the_account_and_a_good_end_has_the_agent_s_own_report(
    database: Database,
) -> None:
    task, claim = await database.run(claimed_task)
    await drive(database, ScriptedModel((first_step(), REFUSED)), tools(), claim)
    await database.run(lambda: runs.retry(task_id=task.id, tenant_id=None, now=_past()))
    (claim,) = await database.run(lambda: claim_all(a_worker()))

    await drive(database, ScriptedModel((text_response("All done."),)), tools(), claim)

    await database.run(task.refresh_from_db)
    assert (task.status, task.report) == (Status.COMPLETED, "All done.")
    assert (task.final_report_produced, task.error) == (True, None)


SKILL = {"id": "1b6a", "name": "weekly report", "slug": "weekly-report", "source": "project"}
USED = Usage(input_tokens=900, output_tokens=200, cost_usd=0.7)
SHAPES: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "no step": ({}, []),
    "words": ({}, [{"words": "Some words."}]),
    "words in parts": ({}, [{"words": [{"type": "text", "text": "a"}, {"text": "b"}, "c"]}]),
    "words cut twice": ({}, [{"words": "a ", "cut": True}, {"words": "b ", "cut": True}]),
    "cut before calls": ({}, [{"words": "a", "cut": True}, {"calls": [("x", "failed")]}]),
    "cut, then other words": ({}, [{"words": "a", "cut": True}, {"words": "b"}]),
    "calls of all kinds": (
        {},
        [
            {"words": "Now.", "calls": [("b", "succeeded"), ("a", "unknown_outcome")]},
            {"calls": [("a", "cancelled"), ("b", "failed"), ("b", "succeeded")]},
        ],
    ),
    "two runs": (
        {"run_number": 2},
        [{"words": "old", "calls": [("a", "succeeded")]}, {"run": 2, "calls": [("a", "failed")]}],
    ),
    "a run without a step": ({"run_number": 3}, [{"words": "old", "calls": [("a", "succeeded")]}]),
    "skill not loaded": ({"required_skill": SKILL}, [{"calls": [("load_skill", "failed")]}]),
    "another skill loaded": (
        {"required_skill": SKILL},
        [{"calls": [("load_skill", "succeeded")], "arguments": '{"id": "2c7b"}'}],
    ),
    "skill loaded": (
        {"required_skill": SKILL},
        [{"calls": [("load_skill", "succeeded")], "arguments": '{"id": "1b6a"}'}],
    ),
    "limits overshot": (
        {"limits": {**LIMITS, "max_tokens": 1_000, "max_cost_usd": 0.5}},
        [{"usage": USED, "words": "x"}, {"usage": USED, "words": ""}],
    ),
}


def shaped(task_values: dict[str, Any], steps: list[dict[str, Any]]) -> AgentTask:
    """Write a task with these steps."""
    task = a_task(**task_values, steps_completed=len(steps))
    indexes: dict[int, int] = {}
    for each in steps:
        run = each.get("run", 1)
        indexes[run] = indexes.get(run, 0) + 1
        step = StepFactory(
            task=task,
            run_number=run,
            index=indexes[run],
            response={"role": "assistant", "content": each.get("words")},
            finish_reason="length" if each.get("cut") else "stop",
            usage=dataclasses.asdict(each.get("usage", Usage())),
        )
        for index, (name, state) in enumerate(each.get("calls", ())):
            arguments = each.get("arguments", "{}")
            ToolCallFactory(
                step=step, index=index, name=name, state=state, result="r", arguments=arguments
            )
    return task


@pytest.mark.django_db
@pytest.mark.parametrize("shape", SHAPES)
def test_the_rows_say_what_the_transcript_says(shape: str) -> None:
    task = shaped(*SHAPES[shape])
    transcript = transcript_of(task, history_of(task), system="")

    of_rows, of_memory = facts_of_rows(task), facts_of(transcript)

    assert of_rows == of_memory
    assert list(of_rows.calls) == list(of_memory.calls), "another order"


@pytest.mark.django_db
def test_the_account_of_a_task_that_is_given_up_reads_neither_arguments_nor_results() -> None:
    task = shaped(*SHAPES["calls of all kinds"])
    ToolCall.objects.update(arguments="[" * 1_000_000, result="x" * 1_000_000)
    with (
        CaptureQueriesContext(
            connection,
        ) as queries,
        transaction.atomic(),
    ):
        end_failed(task, error="It broke.", now=timezone.now())

    of_calls = [each["sql"] for each in queries if 'FROM "tasks_app_toolcall"' in each["sql"]]
    ended = [each for each in of_calls if "IN ('planned', 'started')" not in each]
    assert len(ended) == 1
    assert '"result"' not in ended[0]
    assert '"arguments"' not in ended[0]
    assert "Tool calls that succeeded: b (2)." in str(task.report)


@pytest.mark.django_db
def test_an_account_names_no_more_than_fifty_tools_of_a_kind() -> None:
    calls = [(f"made_up_{number}", "failed") for number in range(MAX_NAMED + 7)]
    task = shaped({}, [{"calls": calls}])
    with transaction.atomic():
        end_failed(task, error="It broke.", now=timezone.now())

    assert "made_up_49, and 7 more." in str(task.report)
    assert "made_up_50" not in str(task.report)


ENDED = {"stop_reason": "error", "completed_at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"status": "FAILED", "error": "x", "report": "r", **ENDED}, "task_report_by_how_it_ended"),
        ({"status": "INCOMPLETE", "steps_completed": 1, **ENDED}, "task_report_by_how_it_ended"),
        ({"status": "COMPLETED", "steps_completed": 1, **ENDED}, "task_report_by_how_it_ended"),
        ({"report": "r", "steps_completed": 1}, "task_report_by_how_it_ended"),
        (
            {"status": "FAILED", "error": "x", "final_report_produced": True, **ENDED},
            "task_failed_has_no_final_report",
        ),
    ],
)
def test_the_database_refuses_a_report_that_cannot_be(
    values: dict[str, Any], constraint: str
) -> None:
    task = a_task()
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        AgentTask.objects.filter(pk=task.pk).update(**values)


@pytest.mark.django_db
def test_the_database_takes_a_failed_task_with_and_without_an_account() -> None:
    failed = {"status": "FAILED", "error": "x", "final_report_produced": False, **ENDED}
    for values in ({}, {"steps_completed": 1}, {"steps_completed": 1, "report": "r"}):
        task = a_task()
        AgentTask.objects.filter(pk=task.pk).update(**failed, **values)
