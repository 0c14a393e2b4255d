"""Models and servers as they are: each row is a server's exact bytes and the one right outcome.

A new case is a new row in one of the tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import stamina

from agent_runtime.llm.chat_completions import ChatCompletionsModel
from agent_runtime.testing import FakeTools
from tasks_app.models import AgentTask, Event, Step, ToolCall
from tasks_app.worker.database import Database
from tests.real_models import answers, requests
from tests.real_models.exact import Case, at
from tests.support.engine_rows import claimed_task, drive
from tests.support.model_server import ScriptedModel
from tests.unit.llm.conftest import KEY

pytestmark = pytest.mark.django_db(transaction=True)

CASES: Mapping[str, Case] = {**answers.CASES, **requests.CASES}


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Two tries as ever, without the wait between them."""
    with stamina.set_testing(True, attempts=2, cap=True):
        yield


def tools_of(case: Case) -> FakeTools:
    tools = FakeTools({"append": lambda _: "appended", "read": lambda _: "rows"})
    if case.tools:
        tools.offered = case.tools
    return tools


def kept(task: AgentTask) -> str:
    """Return all that the task has left in the database."""
    task.refresh_from_db()
    rows = [
        task.__dict__,
        *(each.__dict__ for each in Step.objects.filter(task=task)),
        *(each.__dict__ for each in ToolCall.objects.filter(step__task=task)),
        *(each.__dict__ for each in Event.objects.filter(task=task)),
    ]
    return json.dumps(rows, default=str)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_the_outcome_is_right(database: Database, case: Case) -> None:
    task, claim = await database.run(lambda: claimed_task(model=case.model, attempt=4))
    tools = tools_of(case)
    with ScriptedModel() as server:
        server.script(*case.answers)
        model = ChatCompletionsModel(base_url=server.base_url, api_key=KEY, stall_seconds=20)
        await drive(database, model, tools, claim)
        await model.close()
    left = await database.run(kept, task)
    bodies: list[Any] = [each.json for each in server.requests]
    assert len(bodies) == case.requests
    assert [(name, dict(arguments)) for name, _, arguments in tools.sent] == list(case.ledger)
    final = case.final
    if final is None:
        final = case.report is not None and "account is the engine's" not in case.report
    assert (task.status, task.stop_reason, task.report, task.error) == (
        case.status,
        case.reason,
        case.report,
        case.error,
    )
    assert task.final_report_produced is final
    check_requests(case, bodies, server.requests[-1].body.decode())
    for text in case.hides:
        assert text not in left


def check_requests(case: Case, bodies: list[Any], last: str) -> None:
    for path, value in case.body.items():
        assert at(bodies, path) == value, path
    for path in case.absent:
        with pytest.raises((KeyError, IndexError)):
            at(bodies, path)
    for text in case.sees:
        assert text in last
