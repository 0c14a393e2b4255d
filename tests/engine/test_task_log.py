"""A task's start and end are one line each in the log, with what an operator wants to know."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from django.utils import timezone
from structlog.testing import capture_logs

from agent_runtime.errors import ModelUnavailable
from agent_runtime.testing import ScriptedModel, text_response
from tasks_app.operations.cancel import cancel
from tasks_app.states import Status
from tests.engine.test_engine import StartEngine, eventually, start, status_of  # noqa: F401
from tests.support.engine_rows import a_task

pytestmark = pytest.mark.django_db(transaction=True)


def of_task(lines: list[Any], task_id: object) -> list[dict[str, Any]]:
    return [
        line
        for line in lines
        if str(line["event"]).startswith("task.") and line.get("task", str(task_id)) == str(task_id)
    ]


def test_a_task_that_goes_well_has_a_line_at_its_start_and_one_at_its_end(
    start: StartEngine,  # noqa: F811
) -> None:
    answer = text_response("Done.")
    task = a_task()
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        start(ScriptedModel((answer,)))
        eventually(lambda: status_of(task) == Status.COMPLETED, "the end")
        eventually(lambda: len(of_task(lines, task.pk)) == 2, "both lines")
    first, last = of_task(lines, task.pk)
    assert (first["event"], first["log_level"], first["task"]) == (
        "task.started",
        "info",
        str(task.pk),
    )
    assert (first["project"], first["run"], first["steps"], first["epoch"]) == (
        str(task.project_id),
        1,
        0,
        1,
    )
    seconds = last.pop("seconds")
    assert 0.0 <= seconds < 60.0
    assert last == {
        "event": "task.ended",
        "log_level": "info",
        "task": str(task.pk),
        "epoch": 1,
        "status": "COMPLETED",
        "reason": "final_report",
        "project": str(task.project_id),
        "run": 1,
        "steps": 1,
        "tool_calls": 0,
        "tokens": 15,
        "cost_usd": None,
    }


def test_a_task_that_waits_says_for_what_and_a_later_start_that_it_continues(
    start: StartEngine,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tasks_app.worker.journal.outcomes.BACKOFF_SECONDS", (0.1,))
    task = a_task()
    script = (text_response(""), ModelUnavailable("The provider is busy."), text_response("Done."))
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        start(ScriptedModel(script))
        eventually(lambda: status_of(task) == Status.COMPLETED, "the end")
        eventually(lambda: len(of_task(lines, task.pk)) == 4, "all lines")
    events = [(line["event"], line.get("reason")) for line in of_task(lines, task.pk)]
    assert events == [
        ("task.started", None),
        ("task.waiting", "The provider is busy."),
        ("task.continued", None),
        ("task.ended", "final_report"),
    ]


def test_a_task_that_is_cancelled_while_it_waits_has_its_line() -> None:
    task = a_task()
    with capture_logs() as lines:
        cancel(task_id=task.id, tenant_id=None, reason="secret words", now=timezone.now())
    (line,) = of_task(lines, task.pk)
    assert (line["event"], line["status"], line["reason"]) == (
        "task.ended",
        "INCOMPLETE",
        "cancelled",
    )
    assert "secret words" not in str(line)
