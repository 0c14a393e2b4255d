"""Polling a task: every key in every state, and nothing of anybody else's."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import Any

import pytest

from caylex_project.accounts.models import EndUser
from tasks_app.models import AgentTask, Step, ToolCall, Worker
from tests.support.accounts import SUBMIT, Account, Caller
from tests.support.factories import LIMITS

CREATED = datetime.datetime(2026, 6, 18, 15, 0, 0, 987654, tzinfo=datetime.UTC)
KEYS = {
    *("task_id", "status", "report", "result", "error", "created_at", "started_at"),
    *("completed_at", "session_id", "terminal", "stop_reason", "model", "skill", "user_email"),
    *("metadata", "progress", "usage", "attempt", "next_attempt_at", "cancel_requested_at"),
    *("authentication_needed", "poll_after_ms", "limits", "rerun_of"),
}
USAGE_KEYS = {
    *("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens"),
    *("total_tokens", "llm_calls", "tool_calls", "cost_usd"),
}


def later(seconds: int) -> datetime.datetime:
    return CREATED + datetime.timedelta(seconds=seconds)


def make_task(account: Account, **fields: Any) -> AgentTask:
    user, _ = EndUser.objects.get_or_create(project=account.project, email="jane@example.com")
    given = {
        "tenant": account.tenant,
        "project": account.project,
        "navigator": account.navigator,
        "end_user": user,
        "prompt": "Count.",
        "model": "a/model",
        "limits": LIMITS,
        "created_at": CREATED,
        "next_attempt_at": CREATED,
        **fields,
    }
    return AgentTask.objects.create(**given)


def running(account: Account, **fields: Any) -> AgentTask:
    worker = Worker.objects.create(
        host="h",
        machine="m",
        pid=1,
        pid_started="1",
        version="1",
        lease_until=later(60),
        capacity=1,
        started_at=CREATED,
    )
    return make_task(account, status="RUNNING", worker=worker, started_at=later(3), **fields)


def ended(account: Account, **fields: Any) -> AgentTask:
    return make_task(account, started_at=later(3), completed_at=later(261), **fields)


def add_step(task: AgentTask, *, index: int, run_number: int = 1) -> Step:
    return Step.objects.create(
        task=task,
        run_number=run_number,
        index=index,
        epoch=1,
        sequence=index,
        request={},
        response={},
        finish_reason="tool_calls",
        model="a/model",
        usage={},
        started_at=CREATED,
        completed_at=CREATED,
    )


def add_call(step: Step, *, index: int, tool: str, state: str) -> ToolCall:
    return ToolCall.objects.create(
        step=step,
        index=index,
        call_id=f"c{index}",
        name=f"tickets__{tool}",
        server="tickets",
        tool=tool,
        arguments="{}",
        repeatable=True,
        state=state,
        result=None if state in ("planned", "started") else "done",
    )


def test_a_fresh_task_shows_every_key(backend: Caller, acme: Account) -> None:
    submitted = backend.submit().json()

    answer = backend.poll(submitted["task_id"])

    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == KEYS
    assert set(body["usage"]) == USAGE_KEYS
    task = AgentTask.objects.get()
    assert body == {
        "task_id": str(task.id),
        "session_id": str(task.session_id),
        "status": "PENDING",
        "terminal": False,
        "stop_reason": None,
        "report": None,
        "result": None,
        "error": None,
        "model": task.model,
        "skill": None,
        "user_email": "jane@example.com",
        "metadata": {},
        "limits": {
            "max_steps": 200,
            "max_tool_calls": None,
            "max_tokens": None,
            "max_cost_usd": None,
            "timeout_seconds": 14400.0,
        },
        "rerun_of": None,
        "progress": {
            "steps_completed": 0,
            "tool_calls_made": 0,
            "current": "Waiting for a worker.",
        },
        "usage": {**dict.fromkeys(USAGE_KEYS, 0), "cost_usd": None},
        "attempt": 0,
        "next_attempt_at": None,
        "cancel_requested_at": None,
        "authentication_needed": [],
        "poll_after_ms": 2000,
        "created_at": task.created_at.replace(microsecond=0).isoformat(),
        "started_at": None,
        "completed_at": None,
    }


def test_times_have_no_microseconds_and_say_their_zone(backend: Caller, acme: Account) -> None:
    task = ended(acme, status="COMPLETED", stop_reason="final_report", report="Done.")

    body = backend.poll(task.id).json()

    assert body["created_at"] == "2026-06-18T15:00:00+00:00"
    assert body["started_at"] == "2026-06-18T15:00:03+00:00"
    assert body["completed_at"] == "2026-06-18T15:04:21+00:00"


def test_a_completed_task_has_its_report_and_result(backend: Caller, acme: Account) -> None:
    task = ended(
        acme,
        status="COMPLETED",
        stop_reason="final_report",
        report="Counted 142 \u2603.",
        final_report_produced=True,
        steps_completed=5,
        tool_calls_made=18,
        input_tokens=100,
        output_tokens=20,
        cached_input_tokens=50,
        reasoning_tokens=7,
        cost_usd=Decimal("0.04120000"),
    )

    body = backend.poll(task.id).json()

    assert (body["status"], body["terminal"], body["stop_reason"]) == (
        "COMPLETED",
        True,
        "final_report",
    )
    assert body["report"] == "Counted 142 \u2603."
    assert body["result"] == {
        "text": "Counted 142 \u2603.",
        "tool_calls_made": 18,
        "hit_iteration_limit": False,
        "final_report_produced": True,
    }
    assert body["error"] is None
    assert body["poll_after_ms"] is None
    assert body["usage"] == {
        "input_tokens": 100,
        "output_tokens": 20,
        "cached_input_tokens": 50,
        "reasoning_tokens": 7,
        "total_tokens": 120,
        "llm_calls": 5,
        "tool_calls": 18,
        "cost_usd": 0.0412,
    }


@pytest.mark.parametrize(
    ("reason", "hit"),
    [("max_steps", True), ("max_tool_calls", True), ("timeout", False), ("cancelled", False)],
)
def test_an_incomplete_task_says_whether_a_limit_on_iterations_ended_it(
    backend: Caller, acme: Account, reason: str, hit: bool
) -> None:
    task = ended(
        acme,
        status="INCOMPLETE",
        stop_reason=reason,
        report="Half of it.",
        final_report_produced=False,
    )

    body = backend.poll(task.id).json()

    assert (body["terminal"], body["report"], body["stop_reason"]) == (True, "Half of it.", reason)
    assert body["result"]["hit_iteration_limit"] is hit
    assert body["result"]["final_report_produced"] is False
    assert body["result"]["text"] == "Half of it."


@pytest.mark.parametrize(("steps", "report"), [(0, None), (3, "The agent wrote no report; …")])
def test_a_failed_task_has_an_error_its_counters_and_after_a_step_an_account(
    backend: Caller, acme: Account, steps: int, report: str | None
) -> None:
    task = ended(
        acme,
        status="FAILED",
        stop_reason="error",
        error="The model's provider answered 502 five times.",
        steps_completed=steps,
        tool_calls_made=2,
        report=report,
        final_report_produced=False,
    )

    body = backend.poll(task.id).json()

    assert (body["status"], body["terminal"], body["report"]) == ("FAILED", True, report)
    assert body["error"] == "The model's provider answered 502 five times."
    assert body["result"] == {
        "text": report,
        "tool_calls_made": 2,
        "hit_iteration_limit": False,
        "final_report_produced": False,
    }


def test_a_task_that_waits_says_for_when_and_why(backend: Caller, acme: Account) -> None:
    task = make_task(
        acme,
        started_at=later(3),
        attempt=2,
        steps_completed=3,
        next_attempt_at=later(75),
        waiting_reason="The provider\nanswered 429.",
    )

    body = backend.poll(task.id).json()

    assert (body["status"], body["terminal"], body["attempt"]) == ("PENDING", False, 2)
    assert body["next_attempt_at"] == "2026-06-18T15:01:15+00:00"
    assert body["progress"]["current"] == (
        "Waiting to try step 4 again after attempt 2: The provider answered 429."
    )
    assert body["result"] is None


def test_a_running_task_names_the_call_that_is_on_the_wire(backend: Caller, acme: Account) -> None:
    task = running(acme, steps_completed=2, tool_calls_made=3)
    add_call(add_step(task, index=1), index=0, tool="old", state="started")
    step = add_step(task, index=2)
    add_call(step, index=0, tool="done", state="succeeded")
    add_call(step, index=1, tool="search", state="started")
    add_call(step, index=2, tool="later", state="planned")

    body = backend.poll(task.id).json()

    assert (body["status"], body["next_attempt_at"]) == ("RUNNING", None)
    assert body["progress"]["current"] == "Step 2: waiting for tickets: search."


def test_a_later_run_s_step_is_newer_than_any_of_an_earlier_run(
    backend: Caller, acme: Account
) -> None:
    task = running(acme, steps_completed=6, run_number=2)
    add_step(task, index=5, run_number=1)
    add_call(add_step(task, index=1, run_number=2), index=0, tool="search", state="started")

    assert backend.poll(task.id).json()["progress"]["current"] == (
        "Step 6: waiting for tickets: search."
    )


def test_servers_that_the_user_must_connect_are_named(backend: Caller, acme: Account) -> None:
    task = running(acme, authentication_needed=["crm", "mail"])

    assert backend.poll(task.id).json()["authentication_needed"] == [
        {"server": "crm", "link": None},
        {"server": "mail", "link": None},
    ]


def test_the_required_skill_is_shown_as_it_was_resolved(backend: Caller, acme: Account) -> None:
    skill = {"id": str(uuid.uuid4()), "name": "Weekly", "slug": "weekly", "source": "global"}
    task = make_task(acme, required_skill=skill)

    assert backend.poll(task.id).json()["skill"] == skill


def test_another_tenant_s_task_is_404_as_if_there_were_none(
    backend: Caller, stranger: Caller
) -> None:
    task_id = backend.submit().json()["task_id"]

    theirs, nobodys = stranger.poll(task_id), stranger.poll(uuid.uuid4())

    assert theirs.status_code == nobodys.status_code == 404
    first, second = theirs.json(), nobodys.json()
    del first["request_id"], second["request_id"]
    assert first == second == {"detail": "There is no such task.", "code": "task_not_found"}
    assert backend.poll(task_id).status_code == 200


@pytest.mark.parametrize(
    "task_id",
    [
        "x",
        "0",
        "%00",
        "%ff",
        "a" * 5000,
        "f55a0be6dd204f3796c8b7b8119797ba",
        "{f55a0be6-dd20-4f37-96c8-b7b8119797ba}",
        "urn:uuid:f55a0be6-dd20-4f37-96c8-b7b8119797ba",
        "f55a0be6-dd20-4f37-96c8-b7b8119797ba%0a",
        "\u0666" * 8 + "-dd20-4f37-96c8-b7b8119797ba",
    ],
)
def test_an_id_that_is_no_uuid_is_404(backend: Caller, task_id: str) -> None:
    answer = backend.poll(task_id)

    assert (answer.status_code, answer.json()["code"]) == (404, "task_not_found")


def test_both_slash_forms_and_any_case_of_the_id_work(backend: Caller, acme: Account) -> None:
    task = make_task(acme)

    for path in (f"{task.id}", f"{task.id}/", str(task.id).upper()):
        assert backend.poll(path).json()["task_id"] == str(task.id)


def test_a_poll_costs_two_queries_and_one_more_when_a_running_task_has_moved(
    backend: Caller, acme: Account, django_assert_num_queries: Any
) -> None:
    task = running(acme, steps_completed=1)
    add_call(add_step(task, index=1), index=0, tool="search", state="started")

    with django_assert_num_queries(3):  # the token, the task, the call on the wire
        assert backend.poll(task.id).status_code == 200
    with django_assert_num_queries(2):
        assert "tickets: search" in backend.poll(task.id).json()["progress"]["current"]


def test_head_is_a_poll_without_a_body_and_changes_nothing(backend: Caller, acme: Account) -> None:
    task = make_task(acme)

    answer = backend.client.head(f"{SUBMIT}/{task.id}", headers=acme.bearer)

    assert (answer.status_code, answer.content) == (200, b"")
    assert AgentTask.objects.get().status == "PENDING"


def test_a_call_that_has_ended_is_no_longer_named(backend: Caller, acme: Account) -> None:
    task = running(acme, steps_completed=1, sequence=2)
    call = add_call(add_step(task, index=1), index=0, tool="search", state="started")
    assert "tickets: search" in backend.poll(task.id).json()["progress"]["current"]

    ToolCall.objects.filter(pk=call.pk).update(state="succeeded", result="done")
    AgentTask.objects.update(sequence=3)

    assert backend.poll(task.id).json()["progress"]["current"] == (
        "Step 2: waiting for the model's answer."
    )
