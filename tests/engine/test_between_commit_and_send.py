"""The worker is told to end, or the task to stop, while a step's commit is on its way to disk."""

import asyncio
import uuid
from collections.abc import Callable, Sequence

from agent_runtime.testing import FakeTools, ScriptedModel, text_response, tool_call_response
from tasks_app.models import AgentTask, Event, ToolCall
from tasks_app.states import Status
from tasks_app.worker.claiming.claim import Claim
from tasks_app.worker.database import Database
from tasks_app.worker.execution.active_task import ActiveTask
from tasks_app.worker.execution.driver import Driver
from tasks_app.worker.journal.entries import Entry, Landed
from tasks_app.worker.journal.journal import Journal
from tasks_app.worker.journal.write import write_entries
from tests.support.engine_rows import a_driver, claimed_task, take

TWO_CALLS = tool_call_response(("fake__write", {"n": 1}), ("fake__write", {"n": 2}))


async def drive_and_tell(
    database: Database,
    claim: Claim,
    tools: FakeTools,
    *,
    tell: Callable[[Driver, ActiveTask], None],
) -> None:
    """Drive a task; `tell` happens after its first commit, before the driver hears of that."""
    loop = asyncio.get_running_loop()
    written = 0

    def write(entries: Sequence[Entry]) -> dict[uuid.UUID, Landed]:
        nonlocal written
        written += 1
        landed = write_entries(entries)
        if written == 1:
            loop.call_soon_threadsafe(tell, driver, held)
        return landed

    driver = a_driver(ScriptedModel((TWO_CALLS, text_response("This is one turn too many."))))
    held = await take(database, claim, tools, Journal(database, write=write))
    await driver.drive(held)


async def test_calls_that_are_started_on_disk_are_sent_before_the_task_is_handed_back(
    database: Database,
) -> None:
    task, claim = await database.run(claimed_task)
    tools = FakeTools({"write": lambda _: "written"})
    await drive_and_tell(database, claim, tools, tell=lambda driver, _: driver.draining.set())
    assert len(tools.sent) == 2
    await database.run(task.refresh_from_db)
    assert (task.status, task.steps_completed, task.attempt) == (Status.PENDING, 1, 0)
    states = await database.run(lambda: [*ToolCall.objects.values_list("state", flat=True)])
    assert states == ["succeeded", "succeeded"], "somebody will have to doubt them"
    kinds = await database.run(
        lambda: [*Event.objects.order_by("sequence").values_list("kind", flat=True)]
    )
    assert kinds == ["started", "handed_back"]


async def test_a_cancelled_task_sends_nothing_more_and_leaves_no_call_open(
    database: Database,
) -> None:
    task, claim = await database.run(claimed_task)
    tools = FakeTools({"write": lambda _: "written"})
    await drive_and_tell(database, claim, tools, tell=lambda _, held: held.cancel("enough"))
    assert tools.sent == []
    task = await database.run(lambda: AgentTask.objects.get(pk=task.pk))
    assert (task.status, task.stop_reason) == (Status.INCOMPLETE, "cancelled")
    assert "unknown" not in (task.report or "")
    calls = await database.run(lambda: [*ToolCall.objects.values_list("state", "result")])
    assert calls == [("cancelled", "Not sent: the task was stopped.")] * 2
