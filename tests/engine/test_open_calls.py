"""No task is over while a call of it has no result: a later run could not go on."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from agent_runtime.messages import CallState
from agent_runtime.testing import FakeTools, ScriptedModel, text_response, tool_call_response
from tasks_app.models import AgentTask, ToolCall
from tasks_app.operations import runs
from tasks_app.states import Status
from tasks_app.worker.database import Database
from tasks_app.worker.journal.entries import Entry
from tasks_app.worker.journal.journal import Journal
from tasks_app.worker.maintenance.reclaim import free_broken
from tests.support.engine_rows import a_driver, a_worker, claim_all, claimed_task, drive, take

TWO_CALLS = tool_call_response(("fake__write", {"n": 1}), ("fake__write", {"n": 2}))


def write(_: Mapping[str, Any]) -> str:
    return "written"


class CancelledAtTheCommit(Journal):
    """Asks the task to stop while its step is on the way to the disk."""

    cancel: Any = None

    async def commit(self, entry: Entry) -> int:
        sequence = await super().commit(entry)
        if entry.step is not None:
            self.cancel("enough")
        return sequence


async def open_calls(database: Database) -> list[str]:
    states = await database.run(lambda: list(ToolCall.objects.values_list("state", flat=True)))
    return [state for state in states if not CallState(state).ended]


async def assert_that_a_retry_can_go_on(database: Database, task: AgentTask) -> None:
    await database.run(lambda: runs.retry(task_id=task.id, tenant_id=None, now=timezone.now()))
    (claim,) = await database.run(lambda: claim_all(a_worker()))
    model, tools = ScriptedModel((text_response("Done."),)), FakeTools({"write": write})
    await drive(database, model, tools, claim)
    messages = [json.loads(each.wire) for each in model.requests[0].messages]
    asked = [call["id"] for each in messages for call in each.get("tool_calls") or ()]
    answered = [each["tool_call_id"] for each in messages if each["role"] == "tool"]
    assert answered == asked == ["call_0", "call_1"], "providers refuse such a transcript"


async def test_a_cancel_during_a_steps_commit_sends_nothing_and_leaves_no_call_open(
    database: Database,
) -> None:
    task, claim = await database.run(claimed_task)
    journal, tools = CancelledAtTheCommit(database), FakeTools({"write": write})
    held = await take(database, claim, tools, journal)
    journal.cancel = held.cancel
    await a_driver(ScriptedModel((TWO_CALLS,))).drive(held)
    await database.run(task.refresh_from_db)
    assert (task.status, task.stop_reason) == (Status.INCOMPLETE, "cancelled")
    assert tools.sent == []
    assert await open_calls(database) == []
    await assert_that_a_retry_can_go_on(database, task)


async def test_a_task_that_is_cancelled_when_it_is_taken_leaves_no_call_open(
    database: Database,
) -> None:
    task, claim = await database.run(claimed_task)
    model, tools = ScriptedModel((TWO_CALLS,)), FakeTools({"write": write})
    driver = a_driver(model)

    async def told_to_end() -> None:
        driver.draining.set()

    model._gate = told_to_end
    await drive(database, model, tools, claim, driver=driver)
    assert await open_calls(database) == ["planned", "planned"]

    (claim,) = await database.run(lambda: claim_all(a_worker()))
    held = await take(database, claim, tools, Journal(database))
    held.cancel("enough")
    await a_driver(ScriptedModel(())).drive(held)
    await database.run(task.refresh_from_db)
    assert (task.status, task.stop_reason) == (Status.INCOMPLETE, "cancelled")
    assert tools.sent == []
    assert await open_calls(database) == []
    await assert_that_a_retry_can_go_on(database, task)


async def test_a_task_given_up_after_defects_leaves_no_call_open(database: Database) -> None:
    task, claim = await database.run(claimed_task)

    def broken(_: Mapping[str, Any]) -> str:
        raise ZeroDivisionError

    tools = FakeTools({"write": broken})
    outcome = await asyncio.gather(
        drive(database, ScriptedModel((TWO_CALLS,)), tools, claim), return_exceptions=True
    )
    assert isinstance(outcome[0], ZeroDivisionError)

    await database.run(free_broken, claim=claim, max_attempts=1, now=timezone.now())
    await database.run(task.refresh_from_db)
    assert (task.status, task.attempt) == (Status.FAILED, 1)
    assert await open_calls(database) == []
    await assert_that_a_retry_can_go_on(database, task)
