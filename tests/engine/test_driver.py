"""Driving a task over its rows: what is on disk when, and how a second owner goes on."""

import asyncio
import datetime
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from django.utils import timezone

from agent_runtime.errors import ModelRefused, ModelUnavailable
from agent_runtime.messages import ToolResult
from agent_runtime.testing import FakeTools, ScriptedModel, text_response, tool_call_response
from tasks_app.models import AgentTask, Event, Step, ToolCall
from tasks_app.states import Status, WorkerState
from tasks_app.worker.claiming.claim import Claim
from tasks_app.worker.database import Database
from tasks_app.worker.journal.entries import Entry, Landed
from tasks_app.worker.journal.journal import Fenced, Journal
from tasks_app.worker.journal.write import write_entries
from tasks_app.worker.maintenance.reclaim import end_worker
from tests.support.engine_rows import LIMITS, a_driver, a_worker, claim_all, claimed_task, drive

SEARCH_THEN_REPORT = (tool_call_response(("fake__search", {"q": 1})), text_response("Found it."))


def search(_: Mapping[str, Any]) -> str:
    return "one ticket"


async def read(database: Database, task: AgentTask) -> AgentTask:
    await database.run(task.refresh_from_db)
    return task


async def new_owner(database: Database, task: AgentTask) -> Claim:
    """Declare the task's worker dead and claim the task for another."""

    def take_over() -> Claim:
        task.refresh_from_db()
        assert task.worker_id is not None
        end_worker(worker_id=task.worker_id, state=WorkerState.DEAD, now=timezone.now())
        (claim,) = claim_all(a_worker())
        return claim

    return await database.run(take_over)


async def test_a_task_runs_to_its_report(database: Database) -> None:
    task, claim = await database.run(claimed_task)
    model, tools = ScriptedModel(SEARCH_THEN_REPORT), FakeTools({"search": search})
    await drive(database, model, tools, claim)
    await read(database, task)
    assert (task.status, task.stop_reason, task.report) == (
        Status.COMPLETED,
        "final_report",
        "Found it.",
    )
    assert (task.steps_completed, task.tool_calls_made) == (2, 1)
    assert (task.input_tokens, task.output_tokens) == (20, 10)
    assert task.worker_id is None
    assert task.completed_at is not None
    call = await database.run(ToolCall.objects.get)
    assert (call.state, call.result, call.server, call.tool) == (
        "succeeded",
        "one ticket",
        "fake",
        "search",
    )
    assert [(name, key) for name, key, _ in tools.sent] == [("search", str(call.id))]


async def test_every_change_has_its_number_and_there_is_no_gap(database: Database) -> None:
    task, claim = await database.run(claimed_task)
    await drive(database, ScriptedModel(SEARCH_THEN_REPORT), FakeTools({"search": search}), claim)

    def numbers() -> list[int]:
        found = [*Step.objects.values_list("sequence", flat=True)]
        found += Event.objects.values_list("sequence", flat=True)
        for each in ToolCall.objects.all():
            assert each.started_sequence is not None
            assert each.completed_sequence is not None
            found += [each.started_sequence, each.completed_sequence]
        return sorted(found)

    assert await database.run(numbers) == [1, 2, 3, 4, 5, 6]
    assert (await read(database, task)).sequence == 6


async def test_a_turn_costs_two_commits_and_the_end_none_of_its_own(database: Database) -> None:
    _, claim = await database.run(claimed_task)
    written: list[Entry] = []

    def write(entries: Sequence[Entry]) -> dict[uuid.UUID, Landed]:
        written.extend(entries)
        return write_entries(entries)

    script = (
        tool_call_response(("fake__search", {"q": 1})),
        tool_call_response(("fake__search", {"q": 2}), ("fake__search", {"q": 3})),
        text_response("Done."),
    )
    await drive(
        database,
        ScriptedModel(script),
        FakeTools({"search": search}),
        claim,
        journal=Journal(database, write=write),
    )
    assert len(written) == 5


async def test_a_call_is_on_disk_as_started_before_it_is_sent(database: Database) -> None:
    _, claim = await database.run(claimed_task)
    seen: list[str] = []

    async def look(_: Mapping[str, Any]) -> str:
        seen.append((await database.run(ToolCall.objects.get)).state)
        return "ok"

    script = (tool_call_response(("fake__look", {})), text_response("Done."))
    await drive(database, ScriptedModel(script), FakeTools({"look": look}), claim)
    assert seen == ["started"]


async def test_calls_over_the_cap_start_as_places_become_free(database: Database) -> None:
    task, claim = await database.run(claimed_task)
    at_once = most = 0

    async def slow(_: Mapping[str, Any]) -> str:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        return "ok"

    script = (
        tool_call_response(*[("fake__slow", {"n": number}) for number in range(20)]),
        text_response("Done."),
    )
    tools = FakeTools({"slow": slow})
    await drive(database, ScriptedModel(script), tools, claim)
    assert most == 8
    assert sorted(arguments["n"] for _, _, arguments in tools.sent) == list(range(20))
    assert (await read(database, task)).tool_calls_made == 20


async def test_an_owner_that_was_replaced_writes_nothing_and_sends_nothing(
    database: Database,
) -> None:
    task, claim = await database.run(claimed_task)

    async def lose_it() -> None:
        await new_owner(database, task)

    tools = FakeTools({"search": search})
    model = ScriptedModel(SEARCH_THEN_REPORT, gate=lose_it)
    with pytest.raises(Fenced):
        await drive(database, model, tools, claim)
    assert tools.sent == []
    assert await database.run(Step.objects.count) == 0
    await read(database, task)
    assert (task.status, task.epoch, task.crashes) == (Status.RUNNING, 3, 1)


async def crash_in_call(
    database: Database, *, repeatable: bool
) -> tuple[AgentTask, Claim, ScriptedModel, FakeTools]:
    """Drive a task into a tool call, lose its owner there, and let a second one finish."""
    task, claim = await database.run(claimed_task)
    sent = asyncio.Event()

    async def hang(_: Mapping[str, Any]) -> str:
        sent.set()
        await asyncio.Event().wait()
        return "never"

    first = FakeTools({"write": hang}, repeatable=["write"] if repeatable else [])
    driving = asyncio.create_task(
        drive(
            database, ScriptedModel((tool_call_response(("fake__write", {"n": 1})),)), first, claim
        )
    )
    await sent.wait()
    driving.cancel()  # as a kill would: nothing is written any more
    await asyncio.gather(driving, return_exceptions=True)
    claim = await new_owner(database, task)
    model = ScriptedModel((text_response("Done."),))
    second = FakeTools({"write": lambda _: "written"}, repeatable=["write"] if repeatable else [])
    await drive(database, model, second, claim)
    first.sent += second.sent
    return task, claim, model, first


async def test_a_doubtful_call_that_is_not_repeatable_is_not_sent_again(
    database: Database,
) -> None:
    task, _, model, tools = await crash_in_call(database, repeatable=False)
    assert len(tools.sent) == 1
    call = await database.run(ToolCall.objects.get)
    assert call.state == "unknown_outcome"
    assert b"may or may not have happened" in model.requests[0].messages[-1].wire
    await read(database, task)
    assert task.status == Status.COMPLETED
    assert task.report is not None
    assert task.report.startswith("Done.\n\nNote of the engine: the outcome of these")
    assert task.steps_completed == 2


async def test_a_doubtful_call_that_is_repeatable_is_sent_again_with_the_same_key(
    database: Database,
) -> None:
    task, _, _, tools = await crash_in_call(database, repeatable=True)
    assert len(tools.sent) == 2
    assert tools.sent[0] == tools.sent[1]
    await read(database, task)
    assert (task.status, task.report, task.tool_calls_made) == (Status.COMPLETED, "Done.", 1)


async def test_a_second_owner_sends_the_model_what_the_first_would_have_sent(
    database: Database,
) -> None:
    task, claim = await database.run(claimed_task)
    first = ScriptedModel((*SEARCH_THEN_REPORT[:1], tool_call_response(("fake__search", {"q": 2}))))
    tools = FakeTools({"search": search})
    with pytest.raises(OwnerDied):
        await drive(database, Dying(first), tools, claim)
    claim = await new_owner(database, task)
    second = ScriptedModel((text_response("Done."),))
    await drive(database, second, tools, claim)
    assert [each.wire for each in second.requests[0].messages] == [
        each.wire for each in first.requests[-1].messages
    ]
    steps = await database.run(lambda: list(Step.objects.values_list("index", "epoch")))
    assert sorted(steps) == [(1, 1), (2, 1), (3, 3)]


class OwnerDied(Exception):
    """The script ran out: stands for the death of the owner."""


class Dying(ScriptedModel):
    """A model whose script ends with the owner's death."""

    def __init__(self, inner: ScriptedModel) -> None:
        self._inner = inner

    async def complete(self, request: Any) -> Any:
        try:
            return await self._inner.complete(request)
        except RuntimeError as end:
            raise OwnerDied from end


async def test_a_fault_of_the_model_lets_the_task_wait_as_a_row(database: Database) -> None:
    task, claim = await database.run(claimed_task)
    fault = ModelUnavailable("The model provider answered HTTP 503.")
    await drive(database, ScriptedModel((fault,)), FakeTools(), claim)
    await read(database, task)
    assert (task.status, task.attempt, task.worker_id) == (Status.PENDING, 1, None)
    assert task.waiting_reason == "The model provider answered HTTP 503."
    wait = (task.next_attempt_at - timezone.now()).total_seconds()
    assert 2.0 < wait < 6.1
    assert task.epoch == 2


async def test_a_retry_after_is_obeyed_up_to_fifteen_minutes(database: Database) -> None:
    task, claim = await database.run(claimed_task)
    fault = ModelUnavailable("Busy.", retry_after=10_000)
    await drive(database, ScriptedModel((fault,)), FakeTools(), claim)
    wait = ((await read(database, task)).next_attempt_at - timezone.now()).total_seconds()
    assert 880 < wait <= 900


async def test_the_last_attempt_fails_the_task_with_a_sentence(database: Database) -> None:
    task, claim = await database.run(lambda: claimed_task(attempt=4))
    fault = ModelUnavailable("The model provider answered HTTP 503.")
    await drive(database, ScriptedModel((fault,)), FakeTools(), claim)
    await read(database, task)
    assert (task.status, task.stop_reason, task.report) == (Status.FAILED, "error", None)
    assert task.error == (
        "The model provider answered HTTP 503. Given up after 5 attempts in a row."
    )


async def test_a_step_that_succeeds_resets_the_attempts(database: Database) -> None:
    task, claim = await database.run(lambda: claimed_task(attempt=4, crashes=1))
    script = (SEARCH_THEN_REPORT[0], ModelUnavailable("Busy."))
    await drive(database, ScriptedModel(script), FakeTools({"search": search}), claim)
    await read(database, task)
    assert (task.status, task.attempt, task.crashes) == (Status.PENDING, 1, 0)


async def test_a_refusal_of_the_model_is_final_at_once(database: Database) -> None:
    task, claim = await database.run(claimed_task)
    await drive(database, ScriptedModel((ModelRefused("Check the key."),)), FakeTools(), claim)
    await read(database, task)
    assert (task.status, task.error) == (Status.FAILED, "Check the key.")


async def test_a_worker_that_is_told_to_end_hands_back_with_the_step_and_sends_nothing(
    database: Database,
) -> None:
    task, claim = await database.run(claimed_task)
    model = ScriptedModel(SEARCH_THEN_REPORT)
    driver = a_driver(model)

    async def told_to_end() -> None:
        driver.draining.set()

    model._gate = told_to_end
    tools = FakeTools({"search": search})
    await drive(database, model, tools, claim, driver=driver)
    await read(database, task)
    assert (task.status, task.worker_id, task.attempt) == (Status.PENDING, None, 0)
    assert task.steps_completed == 1
    assert tools.sent == []
    assert (await database.run(ToolCall.objects.get)).state == "planned"

    (claim,) = await database.run(lambda: claim_all(a_worker()))
    await drive(database, ScriptedModel((text_response("Done."),)), tools, claim)
    await read(database, task)
    assert (task.status, task.tool_calls_made, len(tools.sent)) == (Status.COMPLETED, 1, 1)


async def test_a_worker_that_is_told_to_end_in_a_call_waits_for_its_result(
    database: Database,
) -> None:
    task, claim = await database.run(claimed_task)
    model = ScriptedModel(SEARCH_THEN_REPORT)
    driver = a_driver(model)

    def told_to_end(_: Mapping[str, Any]) -> str:
        driver.draining.set()
        return "done"

    await drive(database, model, FakeTools({"search": told_to_end}), claim, driver=driver)
    await read(database, task)
    assert task.status == Status.PENDING
    call = await database.run(ToolCall.objects.get)
    assert (call.state, call.result) == ("succeeded", "done")
    assert len(model.requests) == 1


async def test_calls_that_run_at_the_deadline_are_given_up_and_the_report_is_asked_for(
    database: Database,
) -> None:
    task, claim = await database.run(
        lambda: claimed_task(
            limits={**LIMITS, "timeout_seconds": 61},
            started_at=timezone.now() - datetime.timedelta(seconds=60.5),
        )
    )

    async def hang(_: Mapping[str, Any]) -> str:
        await asyncio.Event().wait()
        return "never"

    script = (
        tool_call_response(("fake__write", {}), ("fake__read", {})),
        text_response("Ran out of time."),
    )
    tools = FakeTools({"write": hang, "read": hang}, repeatable=["read"])
    model = ScriptedModel(script)
    await drive(database, model, tools, claim)
    await read(database, task)
    assert (task.status, task.stop_reason) == (Status.INCOMPLETE, "timeout")
    states = await database.run(
        lambda: list(ToolCall.objects.order_by("index").values_list("state", flat=True))
    )
    assert states == ["unknown_outcome", "cancelled"]
    assert [request.tools_disabled for request in model.requests] == [False, True]


async def test_a_tools_error_is_a_result_and_no_failure(database: Database) -> None:
    from agent_runtime.messages import CallState

    task, claim = await database.run(claimed_task)
    tools = FakeTools({"search": lambda _: ToolResult(text="boom", state=CallState.FAILED)})
    await drive(database, ScriptedModel(SEARCH_THEN_REPORT), tools, claim)
    await read(database, task)
    assert (task.status, task.tool_calls_made) == (Status.COMPLETED, 1)
    assert (await database.run(ToolCall.objects.get)).state == "failed"
