"""Retrying by API: what ended without success goes on; what it ended with is cleared."""

from __future__ import annotations

from typing import Any

import pytest
from django_q.models import OrmQ

from tasks_app.models import AgentTask, Event
from tests.api.test_poll import KEYS, add_step, ended, make_task, running
from tests.support.accounts import SUBMIT, Account, Caller


def retry(caller: Caller, task: AgentTask, body: str = "", *, slash: str = "") -> Any:
    return caller.post(body, path=f"{SUBMIT}/{task.id}/retry{slash}")


@pytest.mark.parametrize("body", ["", "{}"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_failed_task_is_queued_again_without_what_it_ended_with(
    backend: Caller, acme: Account, body: str, slash: str
) -> None:
    task = ended(
        acme,
        status="FAILED",
        stop_reason="error",
        error="No credit.",
        attempt=5,
        steps_completed=2,
        tool_calls_made=3,
        input_tokens=100,
        output_tokens=10,
    )
    add_step(task, index=1)

    answer = retry(backend, task, body, slash=slash)

    shown = answer.json()
    assert answer.status_code == 202
    assert set(shown) == KEYS
    assert shown["task_id"] == str(task.id)
    assert (shown["status"], shown["terminal"]) == ("PENDING", False)
    for key in ("report", "result", "error", "stop_reason", "completed_at", "started_at"):
        assert shown[key] is None, key
    assert (shown["attempt"], shown["next_attempt_at"]) == (0, None)
    assert shown["progress"]["steps_completed"] == 2
    assert shown["usage"]["total_tokens"] == 110
    assert shown["poll_after_ms"] == 2000
    assert backend.poll(task.id).json() == shown
    task.refresh_from_db()
    assert task.run_number == 2
    assert task.steps.count() == 1


def test_a_cancelled_task_can_be_retried_and_the_doorbell_rings(
    backend: Caller, acme: Account
) -> None:
    task = make_task(acme)
    backend.post("", path=f"{SUBMIT}/{task.id}/cancel")
    rings = OrmQ.objects.count()

    answer = retry(backend, task)

    assert answer.status_code == 202
    assert answer.json()["cancel_requested_at"] is None
    assert OrmQ.objects.count() == rings + 1
    assert list(Event.objects.order_by("sequence").values_list("kind", flat=True)) == [
        "incomplete",
        "retried",
    ]


def test_a_second_retry_is_refused_and_starts_no_second_run(backend: Caller, acme: Account) -> None:
    task = ended(acme, status="FAILED", stop_reason="error", error="No credit.")

    assert [retry(backend, task).status_code for _ in range(2)] == [202, 409]

    task.refresh_from_db()
    assert task.run_number == 2
    assert OrmQ.objects.count() == 1


@pytest.mark.parametrize("status", ["PENDING", "RUNNING", "COMPLETED"])
def test_it_is_409_where_it_does_not_apply(backend: Caller, acme: Account, status: str) -> None:
    if status == "COMPLETED":
        task = ended(acme, status=status, stop_reason="final_report", report="Done.")
    else:
        task = make_task(acme) if status == "PENDING" else running(acme)
    before = AgentTask.objects.values().get()

    answer = retry(backend, task)

    body = answer.json()
    assert answer.status_code == 409
    assert set(body) == {"detail", "code", "request_id"}
    assert body["code"] == "not_retryable"
    assert body["detail"] == (f"Only a FAILED or INCOMPLETE task can be retried, not {status}.")
    assert AgentTask.objects.values().get() == before
    assert not Event.objects.exists()
    assert not OrmQ.objects.exists()


@pytest.mark.parametrize(
    ("body", "code"),
    [('{"limit": {}}', "unknown_field"), ("[]", "invalid_json"), ("null", "invalid_json")],
)
def test_a_wrong_body_is_refused(backend: Caller, acme: Account, body: str, code: str) -> None:
    task = ended(acme, status="FAILED", stop_reason="error", error="No credit.")

    answer = retry(backend, task, body)

    assert (answer.status_code, answer.json()["code"]) == (400, code)
    task.refresh_from_db()
    assert (task.status, task.run_number) == ("FAILED", 1)
