"""Cancelling by API: who waits ends at once, who runs is told, who has ended stays as he is."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tasks_app.models import AgentTask
from tests.api.test_poll import KEYS, add_call, add_step, ended, make_task, running
from tests.support.accounts import SUBMIT, Account, Caller


def cancel(caller: Caller, task_id: Any, body: Any = None, *, slash: str = "", **more: Any) -> Any:
    text = "" if body is None else json.dumps(body)
    return caller.post(text, path=f"{SUBMIT}/{task_id}/cancel{slash}", **more)


def row(task: AgentTask) -> dict[str, Any]:
    return dict(AgentTask.objects.values().get(pk=task.pk))


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_waiting_task_ends_in_the_answer_itself(
    backend: Caller, acme: Account, slash: str
) -> None:
    task = make_task(acme)

    answer = cancel(backend, task.id, {"reason": "Jane found it herself"}, slash=slash)

    body = answer.json()
    assert answer.status_code == 202
    assert set(body) == KEYS
    assert (body["status"], body["terminal"]) == ("INCOMPLETE", True)
    assert body["stop_reason"] == "cancelled"
    assert "the task was cancelled: Jane found it herself." in body["report"]
    assert "Nothing had been done." in body["report"]
    assert body["result"] == {
        "text": body["report"],
        "tool_calls_made": 0,
        "hit_iteration_limit": False,
        "final_report_produced": False,
    }
    assert body["error"] is None
    assert body["cancel_requested_at"] == body["completed_at"] is not None
    assert body["poll_after_ms"] is None
    assert backend.poll(task.id).json() == body


def test_a_running_task_is_asked_to_stop_and_keeps_its_worker(
    backend: Caller, acme: Account
) -> None:
    task = running(acme)
    add_call(add_step(task, index=1), index=0, tool="search", state="started")

    answer = cancel(backend, task.id, {"reason": "Enough"})

    body = answer.json()
    assert answer.status_code == 202
    assert (body["status"], body["terminal"], body["report"]) == ("RUNNING", False, None)
    assert body["progress"]["current"] == "Stopping, as asked."
    assert body["cancel_requested_at"] is not None
    assert body["poll_after_ms"] == 2000
    after = row(task)
    assert (after["worker_id"], after["epoch"]) == (task.worker_id, task.epoch)
    assert after["cancel_reason"] == "Enough"


def test_asking_again_changes_nothing(backend: Caller, acme: Account) -> None:
    task = running(acme)
    first = cancel(backend, task.id, {"reason": "The first"})
    before = row(task)

    again = cancel(backend, task.id, {"reason": "Another"})

    assert (again.status_code, again.json()) == (202, first.json())
    assert row(task) == before


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "COMPLETED", "stop_reason": "final_report", "report": "Done."},
        {"status": "INCOMPLETE", "stop_reason": "cancelled", "report": "Half."},
        {"status": "FAILED", "stop_reason": "error", "error": "No credit."},
    ],
)
def test_a_task_that_has_ended_is_shown_unchanged(
    backend: Caller, acme: Account, fields: dict[str, str]
) -> None:
    task = ended(acme, **fields)
    polled, before = backend.poll(task.id).json(), row(task)

    answer = cancel(backend, task.id, {"reason": "Too late"})

    assert (answer.status_code, answer.json()) == (200, polled)
    assert row(task) == before


def test_cancelling_a_task_that_a_cancel_has_ended_is_200(backend: Caller, acme: Account) -> None:
    task = make_task(acme)
    first = cancel(backend, task.id)

    again = cancel(backend, task.id)

    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json() == again.json()


@pytest.mark.parametrize("reason", ["x", "x" * 500, "Grüße, 完了 🎫", None])
def test_a_reason_is_taken_as_it_is(backend: Caller, acme: Account, reason: str | None) -> None:
    task = running(acme)

    assert cancel(backend, task.id, {"reason": reason}).status_code == 202

    assert row(task)["cancel_reason"] == (reason or "")


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"reason": ""}, "reason", "blank"),
        ({"reason": "  \u2003"}, "reason", "blank"),
        ({"reason": "x" * 501}, "reason", "too_long"),
        ({"reason": "line\nbreak"}, "reason", "invalid_text"),
        ({"reason": "line\u2028break"}, "reason", "invalid_text"),
        ({"reason": "bell\x07"}, "reason", "invalid_text"),
        ({"reason": "c1\x9b"}, "reason", "invalid_text"),
        ({"reason": "nul\x00"}, "reason", "invalid_text"),
        ({"reason": "\ud800"}, "reason", "invalid_text"),
        ({"reason": 5}, "reason", "invalid_type"),
        ({"reason": ["x"]}, "reason", "invalid_type"),
        ({"reson": "x"}, "reson", "unknown_field"),
    ],
)
def test_a_wrong_body_is_refused_and_the_task_goes_on(
    backend: Caller, acme: Account, body: Any, field: str, code: str
) -> None:
    task = make_task(acme)
    before = row(task)

    answer = cancel(backend, task.id, body)

    assert answer.status_code == 400
    assert answer.json()["code"] == code
    assert [each["field"] for each in answer.json()["errors"]] == [field]
    assert row(task) == before


@pytest.mark.parametrize("text", ["null", "[]", '"stop"', "{", " "])
def test_a_body_that_is_no_object_is_refused(backend: Caller, acme: Account, text: str) -> None:
    task = make_task(acme)

    answer = backend.post(text, path=f"{SUBMIT}/{task.id}/cancel")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")
    assert row(task)["status"] == "PENDING"


@pytest.mark.parametrize("action", ["cancel", "retry"])
@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"],
)
def test_without_a_body_the_content_type_does_not_matter_and_with_one_it_does(
    backend: Caller, acme: Account, action: str, content_type: str
) -> None:
    task = ended(acme, status="FAILED", stop_reason="error", error="No credit.")
    path = f"{SUBMIT}/{task.id}/{action}"

    refused = backend.post("{}", path=path, content_type=content_type)
    assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_media_type")
    assert row(task)["status"] == "FAILED"
    taken = backend.post("", path=path, content_type=content_type)
    assert taken.status_code == (200 if action == "cancel" else 202)


def test_a_request_without_any_content_type_is_taken(backend: Caller, acme: Account) -> None:
    task = make_task(acme)

    answer = backend.client.generic(
        "POST", f"{SUBMIT}/{task.id}/cancel", b"", content_type="", headers=acme.bearer
    )

    assert answer.status_code == 202
    assert answer.json()["status"] == "INCOMPLETE"


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_what_is_not_there_or_not_yours_is_404_with_one_body(
    backend: Caller, stranger: Caller, acme: Account, action: str
) -> None:
    task = ended(acme, status="FAILED", stop_reason="error", error="No credit.")
    waiting = make_task(acme)
    before = list(AgentTask.objects.order_by("pk").values())
    asked = [
        stranger.post("", path=f"{SUBMIT}/{task.id}/{action}"),
        stranger.post("", path=f"{SUBMIT}/{waiting.id}/{action}"),
        backend.post("", path=f"{SUBMIT}/{uuid.uuid4()}/{action}"),
        backend.post("", path=f"{SUBMIT}/{task.id.hex}/{action}"),
        backend.post("", path=f"{SUBMIT}/5/{action}/"),
    ]

    for answer in asked:
        assert answer.status_code == 404
        body = answer.json()
        assert (body["code"], body["detail"]) == ("task_not_found", "There is no such task.")
    assert list(AgentTask.objects.order_by("pk").values()) == before


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_the_checks_come_in_order_token_body_task(
    backend: Caller, acme: Account, action: str
) -> None:
    path = f"{SUBMIT}/{uuid.uuid4()}/{action}"
    no_token = backend.client.post(path, "{", content_type="application/json")
    bad_body = backend.post('{"promt": 1}', path=path)

    assert (no_token.status_code, no_token["WWW-Authenticate"]) == (401, "Bearer")
    assert (bad_body.status_code, bad_body.json()["code"]) == (400, "unknown_field")


@pytest.mark.parametrize("action", ["cancel", "retry"])
@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_only_post_does_anything(backend: Caller, acme: Account, action: str, method: str) -> None:
    task = make_task(acme)
    before = row(task)

    answer = getattr(backend.client, method)(f"{SUBMIT}/{task.id}/{action}", headers=acme.bearer)

    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert row(task) == before
