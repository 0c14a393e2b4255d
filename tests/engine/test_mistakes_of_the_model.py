"""What a model writes that no schema saw: a result for the model, never a defect of ours."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from agent_runtime.builtin_tools import LOAD_SKILL, SUBMIT_REPORT
from agent_runtime.mcp.toolset import CatalogueCache, McpTools
from agent_runtime.net.address_guard import AddressGuard
from agent_runtime.testing import FakeTools, ScriptedModel, text_response, tool_call_response
from tasks_app.models import ToolCall
from tasks_app.states import Status
from tasks_app.worker.database import Database
from tests.support.engine_rows import claimed_task, drive


class ToolsOfNoServer(McpTools):
    """The real port, for a user without servers."""

    def __init__(self) -> None:
        super().__init__(
            accesses=(), guard=AddressGuard(), call_timeout=1.0, catalogues=CatalogueCache()
        )


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"outcome": "completed"},
        {"report": "Done."},
        {"outcome": "completed", "report": None},
        {"outcome": "completed", "report": ""},
        {"outcome": "completed", "report": {"text": "Done."}},
        {"outcome": "finished", "report": "Done."},
    ],
)
async def test_a_report_that_does_not_fit_goes_back_to_the_model(
    database: Database, arguments: Mapping[str, Any]
) -> None:
    task, claim = await database.run(claimed_task)
    model = ScriptedModel(
        (tool_call_response((SUBMIT_REPORT, arguments)), text_response("In words."))
    )
    await drive(database, model, ToolsOfNoServer(), claim)  # type: ignore[arg-type]
    await database.run(task.refresh_from_db)
    assert (task.status, task.report) == (Status.COMPLETED, "In words.")
    call = await database.run(ToolCall.objects.get)
    assert (call.state, call.refused) == ("failed", True)
    assert call.result is not None
    assert "The schema is:" in call.result


async def test_a_skill_is_not_loaded_without_an_id(database: Database) -> None:
    task, claim = await database.run(claimed_task)
    model = ScriptedModel(
        (tool_call_response((LOAD_SKILL, {"name": ("weekly")})), text_response("Done."))
    )
    await drive(database, model, FakeTools(), claim)
    await database.run(task.refresh_from_db)
    assert task.status == Status.COMPLETED
    assert (await database.run(ToolCall.objects.get)).state == "failed"


@pytest.mark.parametrize("odd", ["\\u0000", "\\ud800", "\\u001b[2J"])
async def test_odd_characters_in_a_report_do_not_stop_it(database: Database, odd: str) -> None:
    task, claim = await database.run(claimed_task)
    arguments = f'{{"outcome": "completed", "report": "It is {odd}done."}}'
    assert json.loads(arguments)
    await drive(
        database,
        ScriptedModel((tool_call_response((SUBMIT_REPORT, arguments)),)),
        FakeTools(),
        claim,
    )
    await database.run(task.refresh_from_db)
    assert task.status == Status.COMPLETED
    assert task.report is not None
    assert task.report.startswith("It is ")
    assert not set(task.report) & {"\x00", "\ud800", "\x1b"}
