"""The quarantine lets go of a task as soon as that has shown that it kills nobody."""

from dataclasses import replace

from agent_runtime.testing import FakeTools, ScriptedModel, text_response, tool_call_response
from tasks_app.states import Status
from tasks_app.worker.claiming.claim import claim_quarantined
from tasks_app.worker.database import Database
from tests.support.engine_rows import a_driver, a_task, a_worker, claim_all, drive


async def test_a_task_that_is_through_with_a_turn_in_quarantine_goes_back_to_the_others(
    database: Database,
) -> None:
    task = await database.run(lambda: a_task(crashes=2))
    (claim,) = await database.run(lambda: claim_quarantined(worker_id=a_worker().id))
    model, tools = (
        ScriptedModel((tool_call_response(("fake__write", {})),)),
        FakeTools({"write": lambda _: "ok"}),
    )
    driver = replace(a_driver(model), one_turn=True)
    await drive(database, model, tools, claim, driver=driver)
    await database.run(task.refresh_from_db)
    assert (task.status, task.crashes, task.attempt, len(tools.sent)) == (
        *(Status.PENDING, 0, 0),
        1,
    )

    (claim,) = await database.run(lambda: claim_all(a_worker()))
    await drive(database, ScriptedModel((text_response("Done."),)), tools, claim)
    await database.run(task.refresh_from_db)
    assert (task.status, len(tools.sent)) == (Status.COMPLETED, 1)


async def test_the_last_step_of_a_task_in_quarantine_ends_it(database: Database) -> None:
    task = await database.run(lambda: a_task(crashes=2))
    (claim,) = await database.run(lambda: claim_quarantined(worker_id=a_worker().id))
    model = ScriptedModel((text_response("Done."),))
    await drive(database, model, FakeTools(), claim, driver=replace(a_driver(model), one_turn=True))
    await database.run(task.refresh_from_db)
    assert task.status == Status.COMPLETED
