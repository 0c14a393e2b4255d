"""Pausing and disabling, as running and waiting tasks feel it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from agent_runtime.messages import Call, CallState, ToolRequest
from agent_runtime.testing import FakeTools, ScriptedModel, text_response
from caylex_project.accounts.models import Project, Tenant
from skills_app.operations import SkillText
from tasks_app.models import AgentTask, Event
from tasks_app.monitoring.stats import collect_stats
from tasks_app.states import Status
from tasks_app.worker.database import Database
from tasks_app.worker.engine import POLL_SECONDS
from tasks_app.worker.execution.control import ControlState, read_control_snapshot
from tasks_app.worker.execution.toolbox import Toolbox
from tasks_app.worker.resources import USER_DISABLED
from tests.engine.test_engine import StartEngine, eventually, start, status_of  # noqa: F401
from tests.support.engine_rows import a_task, a_worker, no_results
from tests.support.factories import ServerInstanceFactory

pytestmark = pytest.mark.django_db(transaction=True)


class Gated(ScriptedModel):
    """A model that answers when it is let."""

    def __init__(self, answers: Any) -> None:
        super().__init__(answers)
        self.gate = threading.Event()

    async def complete(self, request: Any) -> Any:
        self.requests.append(request)
        while not self.gate.is_set():
            await asyncio.sleep(0.01)
        self.requests.pop()
        return await super().complete(request)


@pytest.mark.parametrize("scope", [Tenant, Project])
def test_a_running_task_of_what_is_paused_waits_after_its_step_and_goes_on_when_that_ends(
    start: StartEngine,  # noqa: F811
    scope: type[Tenant] | type[Project],
) -> None:
    model = Gated((text_response(""), text_response("Done.")))
    task = a_task()
    start(model)
    eventually(lambda: model.requests, "the first request")
    scope.objects.update(paused=True)
    time.sleep(3 * POLL_SECONDS)  # the owner hears of it
    model.gate.set()
    eventually(lambda: status_of(task) == Status.PENDING, "the hand-back")
    time.sleep(3 * POLL_SECONDS)  # nobody takes it up
    assert status_of(task) == Status.PENDING
    assert (task.steps_completed, task.attempt, task.crashes) == (1, 0, 0)
    assert len(model.requests) == 1
    assert collect_stats().oldest_due_seconds == 0.0  # nobody has to look after it

    scope.objects.update(paused=False)
    eventually(lambda: status_of(task) == Status.COMPLETED, "the end")
    assert (task.steps_completed, len(model.requests)) == (2, 2)
    kinds = Event.objects.filter(task=task).order_by("sequence").values_list("kind", flat=True)
    assert [*kinds] == ["started", "handed_back", "resumed", "completed"]


def test_a_paused_task_that_is_asked_to_stop_ends(start: StartEngine) -> None:  # noqa: F811
    model = Gated((text_response(""),))
    task = a_task()
    start(model)
    eventually(lambda: model.requests, "the request")
    Project.objects.update(paused=True)
    time.sleep(3 * POLL_SECONDS)
    AgentTask.objects.update(cancel_requested_at=timezone.now(), cancel_reason="Enough.")
    eventually(lambda: status_of(task) == Status.INCOMPLETE, "the end")
    assert task.stop_reason == "cancelled"


def test_a_task_of_a_disabled_user_that_is_claimed_all_the_same_asks_no_model(
    start: StartEngine,  # noqa: F811
) -> None:
    task = a_task()
    task.end_user.disabled_at = timezone.now()
    task.end_user.save()
    model = ScriptedModel((text_response("Done."),))
    start(model)
    eventually(lambda: status_of(task) == Status.INCOMPLETE, "the end")
    assert (task.stop_reason, model.requests) == ("cancelled", [])
    assert USER_DISABLED in (task.report or "")


def _of_server(instance: Any) -> None:
    instance.server.paused = True
    instance.server.save()


def _of_instance(instance: Any) -> None:
    instance.paused = True
    instance.save()


@pytest.mark.parametrize("pause", [_of_server, _of_instance])
async def test_a_call_to_a_paused_server_is_not_sent(
    database: Database, pause: Callable[[Any], None]
) -> None:
    def notices() -> ControlState:
        instance: Any = ServerInstanceFactory()
        pause(instance)
        board = ControlState()
        board.snapshot = read_control_snapshot(worker_id=a_worker().id)
        assert board.server_is_paused(instance.project_id, instance.server.name)
        other: Any = ServerInstanceFactory()
        assert not board.server_is_paused(other.project_id, instance.server.name)
        return board

    board = await database.run(notices)
    assert len(board.snapshot.servers) == 1

    async def read_skill(skill_id: str, path: str | None) -> SkillText | None:
        return None

    tools = FakeTools({"search": lambda _: "one ticket"})
    paused = {"fake"}
    toolbox = Toolbox(
        servers=tools,
        read_skill=read_skill,
        read_result=no_results,
        has_skills=False,
        is_paused=paused.__contains__,
    )
    await toolbox.open()
    offered = next(each for each in toolbox.offered if each.server)
    request = ToolRequest(call_id="1", name=offered.name, arguments="{}")
    call = Call(
        key="k",
        index=0,
        request=request,
        arguments={},
        tool=offered,
        state=CallState.STARTED,
    )
    result = await toolbox.call(call)
    assert (result.state, tools.sent) == (CallState.FAILED, [])
    assert result.text == "The server fake is paused: nothing is sent to it now."
    paused.clear()
    assert (await toolbox.call(call)).text == "one ticket"
