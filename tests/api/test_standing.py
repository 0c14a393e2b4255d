"""One line that says where a task stands, told from its row alone."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest

from agent_runtime.endings import StopReason
from tasks_app.queries import TaskView
from tasks_app.standing import Code, Standing, sentence, standing_of
from tasks_app.states import Status

NOON = datetime.datetime(2026, 6, 18, 12, tzinfo=datetime.UTC)


def a_task(**fields: Any) -> TaskView:
    given: dict[str, Any] = {
        "id": uuid.UUID(int=1),
        "session_id": uuid.UUID(int=2),
        "project_id": uuid.UUID(int=3),
        "metadata": {},
        "status": Status.PENDING,
        "stop_reason": None,
        "model": "a/model",
        "user_email": "jane@example.com",
        "required_skill": None,
        "report": None,
        "final_report_produced": None,
        "error": None,
        "attempt": 0,
        "waiting_reason": "",
        "next_attempt_at": NOON,
        "cancel_requested_at": None,
        "authentication_needed": (),
        "steps_completed": 0,
        "tool_calls_made": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "cached_input_tokens": 0,
        "reasoning_tokens": 0,
        "cost_usd": None,
        "created_at": NOON,
        "started_at": None,
        "completed_at": None,
        **fields,
    }
    return TaskView(**given)


@pytest.mark.parametrize(
    ("fields", "code", "line"),
    [
        ({}, Code.QUEUED, "Waiting for a worker."),
        (
            {"started_at": NOON, "steps_completed": 3},
            Code.RESUMING,
            "Waiting for a worker to go on after step 3.",
        ),
        (
            {"started_at": NOON, "attempt": 2, "steps_completed": 3, "waiting_reason": "HTTP 429."},
            Code.WAITING_TO_RETRY,
            "Waiting to try step 4 again after attempt 2: HTTP 429.",
        ),
        (
            {"attempt": 1},
            Code.WAITING_TO_RETRY,
            "Waiting to try step 1 again after attempt 1: it did not succeed.",
        ),
        ({"status": Status.RUNNING}, Code.THINKING, "Step 1: waiting for the model's answer."),
        (
            {"status": Status.RUNNING, "steps_completed": 2, "calling": "tickets: search"},
            Code.CALLING,
            "Step 2: waiting for tickets: search.",
        ),
        (
            {"status": Status.RUNNING, "calling": "a: b", "cancel_requested_at": NOON},
            Code.STOPPING,
            "Stopping, as asked.",
        ),
        (
            {"status": Status.COMPLETED, "stop_reason": StopReason.FINAL_REPORT},
            Code.COMPLETED,
            "Finished: the agent has reported.",
        ),
        (
            {"status": Status.INCOMPLETE, "stop_reason": StopReason.MAX_STEPS},
            Code.INCOMPLETE,
            "Stopped: the limit on steps was reached.",
        ),
        (
            {"status": Status.FAILED, "stop_reason": StopReason.ERROR, "error": "No {credit}."},
            Code.FAILED,
            "Failed: No {credit}.",
        ),
    ],
)
def test_each_state_has_its_code_and_its_line(
    fields: dict[str, Any], code: Code, line: str
) -> None:
    standing = standing_of(a_task(**fields))

    assert standing.code is code
    assert sentence(standing) == line


def test_the_line_is_one_line_whatever_the_parameters_hold() -> None:
    standing = Standing(code=Code.CALLING, parameters={"step": 1, "call": "a\r\nb\t\x85c"})

    assert sentence(standing) == "Step 1: waiting for a b c."


def test_every_way_to_stop_has_words() -> None:
    for reason in StopReason:
        line = sentence(standing_of(a_task(status=Status.INCOMPLETE, stop_reason=reason)))
        assert line.startswith("Stopped: ")
        assert line.endswith(".")
