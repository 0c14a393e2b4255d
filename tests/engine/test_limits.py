"""Limits and continued runs over the rows: a second owner counts what the first one counted."""

import dataclasses

from django.utils import timezone

from agent_runtime.limits import Spent
from agent_runtime.messages import ModelAnswer, Usage
from agent_runtime.testing import FakeTools, ScriptedModel, text_response, tool_call_response
from tasks_app.models import AgentTask
from tasks_app.operations.runs import continue_task
from tasks_app.queries.history import history_of
from tasks_app.queries.run_transcript import transcript_of
from tasks_app.worker.database import Database
from tests.support.engine_rows import LIMITS, a_worker, claim_all, claimed_task, drive


def costing(answer: ModelAnswer, cost: float | None) -> ModelAnswer:
    usage = Usage(input_tokens=10, output_tokens=5, cost_usd=cost)
    return dataclasses.replace(answer, usage=usage)


def spent_by_the_rows(task: AgentTask) -> Spent:
    task.refresh_from_db()
    return transcript_of(task, history_of(task), system="").spent


async def test_the_limit_on_cost_ends_a_run_with_its_report(database: Database) -> None:
    task, claim = await database.run(lambda: claimed_task(limits={**LIMITS, "max_cost_usd": 0.3}))
    tools = FakeTools({"search": lambda _: "one ticket"})
    model = ScriptedModel(
        (
            costing(tool_call_response(("fake__search", {})), 0.2),
            costing(text_response("As far as I got."), 0.15),
        )
    )
    await drive(database, model, tools, claim)
    spent = await database.run(spent_by_the_rows, task)
    assert (task.status, task.stop_reason) == ("INCOMPLETE", "max_cost")
    assert task.report == (
        "As far as I got.\n\nNote of the engine: the run cost 0.350000 USD, 0.050000 more than its "
        "limit of 0.300000."
    )
    assert [request.tools_disabled for request in model.requests] == [False, True]
    assert spent == Spent(tokens=30, cost_usd=0.35, max_call_cost_usd=0.2)


async def test_without_a_cost_the_model_is_asked_once(database: Database) -> None:
    task, claim = await database.run(lambda: claimed_task(limits={**LIMITS, "max_cost_usd": 9.0}))
    tools = FakeTools({"search": lambda _: "one ticket"})
    model = ScriptedModel((costing(tool_call_response(("fake__search", {})), None),))
    await drive(database, model, tools, claim)
    await database.run(task.refresh_from_db)
    assert (task.status, task.stop_reason, task.final_report_produced) == (
        "INCOMPLETE",
        "max_cost",
        False,
    )
    assert task.report is not None
    assert "the model's provider does not say what a call costs" in task.report
    assert len(tools.sent) == 1


async def test_a_continued_task_counts_afresh_and_hears_why_it_ended(database: Database) -> None:
    limits = {**LIMITS, "max_tokens": 30}
    task, claim = await database.run(lambda: claimed_task(limits=limits))
    tools = FakeTools({"search": lambda _: "one ticket"})
    first = ScriptedModel((tool_call_response(("fake__search", {})), text_response("One ticket.")))
    await drive(database, first, tools, claim)
    assert (await database.run(spent_by_the_rows, task)).tokens == 30

    await database.run(
        lambda: continue_task(
            task_id=task.id, tenant_id=task.tenant_id, message="Whose?", now=timezone.now()
        )
    )
    (claim,) = await database.run(lambda: claim_all(a_worker()))
    second = ScriptedModel((text_response("Jane's."),))
    await drive(database, second, tools, claim)
    spent = await database.run(spent_by_the_rows, task)
    assert (task.status, task.report, task.steps_completed) == ("COMPLETED", "Jane's.", 3)
    assert (spent.tokens, task.input_tokens + task.output_tokens) == (15, 45)
    wires = [message.wire for message in second.requests[0].messages]
    assert b"One ticket." in wires[-3]
    assert b"ended because the agent finished" in wires[-2]
    assert wires[-1] == b'{"role":"user","content":"Whose?"}'
    assert len(tools.sent) == 1
