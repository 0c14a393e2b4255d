"""One line that says where a task stands, told from its row alone."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest

from agent_runtime.outcome import StopReason
from tasks_app.admin.tasks.formatting import staff_status_text
from tasks_app.queries.status_line import Code, StatusContext, StatusDetail, describe_status, text
from tasks_app.queries.tasks import TaskDetail
from tasks_app.states import Status, WorkerState

NOON = datetime.datetime(2026, 6, 18, 12, tzinfo=datetime.UTC)


def a_task(**fields: Any) -> TaskDetail:
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
        "limits": {},
        "rerun_of_id": None,
        "report": None,
        "final_report_produced": None,
        "error": None,
        "run_number": 1,
        "attempt": 0,
        "waiting_reason": "",
        "next_attempt_at": NOON,
        "cancel_requested_at": None,
        "authentication_needed": (),
        "steps_completed": 0,
        "summaries_made": 0,
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
    return TaskDetail(**given)


@pytest.mark.parametrize(
    ("fields", "code", "line"),
    [
        ({}, Code.QUEUED, "Waiting for a worker."),
        (
            {"awaits_connection": True, "authentication_needed": ("crm", "mail"), "attempt": 1},
            Code.AWAITS_CONNECTION,
            "Waiting for jane@example.com to connect crm, mail.",
        ),
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
        (
            {"started_at": NOON, "crashes": 1, "steps_completed": 3},
            Code.TAKEN_OVER,
            "Its worker stopped; waiting for another to go on after step 3.",
        ),
        (
            {
                "status": Status.INCOMPLETE,
                "stop_reason": StopReason.AGENT_INCOMPLETE,
                "authentication_needed": ("crm",),
            },
            Code.NEEDS_CONNECTION,
            "Stopped: the agent could not finish. jane@example.com must connect crm.",
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
    detail = describe_status(a_task(**fields))

    assert detail.code is code
    assert text(detail) == line


def test_the_line_is_one_line_whatever_the_parameters_hold() -> None:
    detail = StatusDetail(code=Code.CALLING, parameters={"step": 1, "call": "a\r\nb\t\x85c"})

    assert text(detail) == "Step 1: waiting for a b c."


def test_every_way_to_stop_has_words() -> None:
    for reason in StopReason:
        line = text(describe_status(a_task(status=Status.INCOMPLETE, stop_reason=reason)))
        assert line.startswith("Stopped: ")
        assert line.endswith(".")


def around(**fields: Any) -> StatusContext:
    since = NOON + datetime.timedelta(seconds=30)
    return StatusContext(now=NOON + datetime.timedelta(seconds=42), since=since, **fields)


@pytest.mark.parametrize(
    ("fields", "surroundings", "code", "line"),
    [
        ({}, {"ahead": 3}, Code.QUEUED, "Waiting for a free slot for 42 s, 3 ahead."),
        ({}, {"workers": 0}, Code.NO_WORKER, "Due for 42 s, but no worker is running."),
        (
            {"suspended": "project is paused"},
            {"workers": 0},
            Code.PAUSED,
            "Its project is paused: nothing of it starts.",
        ),
        (
            {"started_at": NOON, "steps_completed": 2},
            {},
            Code.RESUMING,
            "Waiting for a free slot for 42 s, 0 ahead; goes on after step 2.",
        ),
        (
            {"started_at": NOON, "steps_completed": 2, "crashes": 1},
            {"ahead": 1},
            Code.TAKEN_OVER,
            "Its worker stopped. Waiting for a free slot for 42 s, 1 ahead; goes on after step 2.",
        ),
        (
            {
                "attempt": 2,
                "next_attempt_at": NOON + datetime.timedelta(seconds=100),
                "waiting_reason": "HTTP {429}.",
            },
            {},
            Code.WAITING_TO_RETRY,
            "Waiting to try step 1 again in 58 s, after attempt 2: HTTP {429}.",
        ),
        (
            {"attempt": 1, "waiting_reason": "HTTP 429."},
            {"ahead": 2},
            Code.WAITING_TO_RETRY,
            "Due to try step 1 again for 42 s, 2 ahead, after attempt 1: HTTP 429.",
        ),
        (
            {"status": Status.RUNNING},
            {"worker_state": WorkerState.ALIVE, "heartbeat_age": 4, "lease_left": 26},
            Code.THINKING,
            "Step 1: waiting for the model's answer for 12 s.",
        ),
        (
            {"status": Status.RUNNING, "calling": "crm: find", "steps_completed": 1},
            {"worker_state": WorkerState.ALIVE},
            Code.CALLING,
            "Step 1: waiting for crm: find for 12 s.",
        ),
        (
            {"status": Status.RUNNING},
            {"worker_state": WorkerState.ALIVE, "heartbeat_age": 11, "lease_left": 19},
            Code.WORKER_SILENT,
            "Its worker stopped answering 11 s ago; taken over within 22 s.",
        ),
        (
            {"status": Status.RUNNING},
            {"worker_state": WorkerState.DRAINING},
            Code.HANDING_OVER,
            "Its worker is shutting down and hands it over after this step.",
        ),
        (
            {"status": Status.RUNNING, "cancel_requested_at": NOON},
            {"worker_state": WorkerState.DRAINING},
            Code.STOPPING,
            "Stopping, as asked: within two seconds.",
        ),
        (
            {"status": Status.FAILED, "error": "No credit."},
            {"workers": 0},
            Code.FAILED,
            "Failed: No credit.",
        ),
    ],
)
def test_staff_are_told_how_long_and_how_many_are_ahead(
    fields: dict[str, Any], surroundings: dict[str, Any], code: Code, line: str
) -> None:
    detail = describe_status(a_task(**fields), around(**surroundings))

    assert detail.code is code
    assert staff_status_text(detail) == line
    assert text(detail)
