"""Every error has one shape, an id, and nothing of our insides."""

from __future__ import annotations

import json
import logging
import re
import uuid
from typing import Any

import pytest
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.test import Client, override_settings

from tasks_app.models import AgentTask
from tests.support.accounts import SUBMIT, Account, Caller

A_TASK = f"{SUBMIT}/f55a0be6-dd20-4f37-96c8-b7b8119797ba"


def assert_shape(answer: Any, *, status: int, code: str) -> None:
    assert answer.status_code == status
    assert answer["Content-Type"] == "application/json"
    body = answer.json()
    assert set(body) - {"errors"} == {"detail", "code", "request_id"}
    assert body["code"] == code
    assert body["request_id"] == answer["X-Request-Id"]
    assert body["detail"].endswith(".")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", SUBMIT, "GET, HEAD, POST"),
        ("PATCH", f"{SUBMIT}/", "GET, HEAD, POST"),
        ("OPTIONS", SUBMIT, "GET, HEAD, POST"),
        ("TRACE", SUBMIT, "GET, HEAD, POST"),
        ("BREW", SUBMIT, "GET, HEAD, POST"),
        ("POST", A_TASK, "GET, HEAD, PATCH, DELETE"),
        ("PUT", A_TASK, "GET, HEAD, PATCH, DELETE"),
        ("OPTIONS", A_TASK, "GET, HEAD, PATCH, DELETE"),
    ],
)
def test_another_method_is_405_and_told_which_there_are(
    backend: Caller, acme: Account, method: str, path: str, allow: str
) -> None:
    answer = backend.client.generic(
        method, path, json.dumps(acme.body()), "application/json", headers=acme.bearer
    )

    assert answer.status_code == 405
    assert answer["Allow"] == allow
    if method != "HEAD":
        assert_shape(answer, status=405, code="method_not_allowed")
    assert not AgentTask.objects.exists()


@pytest.mark.parametrize(
    "path",
    [
        "/api/",
        "/api/v1",
        "/api/v1/",
        "/api/v2/agent-task",
        "/api/v1/agent-tasks",
        "/api/v1/Agent-Task",
        "/api/v1//agent-task",
        "/api/v1/agent-task//",
        f"{A_TASK}/unknown",
        f"{A_TASK}/../..",
        "/api/%00",
        "/api/v1/%ff%fe",
        "/api/v1/docs/none",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "BREW"])
def test_an_unknown_address_is_404_for_everybody(db: None, path: str, method: str) -> None:
    answer = Client(raise_request_exception=False).generic(method, path)

    assert_shape(answer, status=404, code="not_found")


@pytest.mark.parametrize("debug", [True, False])
def test_the_shape_holds_under_debug_too(db: None, debug: bool) -> None:
    with override_settings(DEBUG=debug):
        client = Client(raise_request_exception=False)
        assert_shape(client.get("/api/none"), status=404, code="not_found")
        answer = client.get("/api/v1/agent-task", HTTP_HOST="evil.example")
        assert_shape(answer, status=400, code="host_not_allowed")


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "application/xml",
        "text/*",
        "application/json;q=0",
        "x",
        "application/x; a*=bogus''%41",
        "\xff",
    ],
)
def test_who_refuses_json_is_told_so_in_json(backend: Caller, accept: str) -> None:
    answer = backend.client.get(A_TASK, headers=backend.account.bearer, HTTP_ACCEPT=accept)

    assert_shape(answer, status=406, code="not_acceptable")


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "application/*;q=0.1", "text/html, application/json", "application/json; indent=4"],
)
def test_json_is_given_to_all_others_and_always_alike(backend: Caller, accept: str) -> None:
    answer = backend.client.get(A_TASK, headers=backend.account.bearer, HTTP_ACCEPT=accept)

    assert_shape(answer, status=404, code="task_not_found")
    assert b"\n" not in answer.content


@pytest.mark.parametrize("sent", ["abc-123", str(uuid.UUID(int=7)), "a" * 128, "00-4bf9/2=f.x:1"])
def test_a_sane_request_id_comes_back(backend: Caller, sent: str) -> None:
    answer = backend.poll(uuid.uuid4(), **{"X-Request-Id": sent})

    assert answer["X-Request-Id"] == sent
    assert answer.json()["request_id"] == sent


@pytest.mark.parametrize("sent", ["", "a" * 129, "a b", "a\x00", "\xff", "<script>", "a\u2028b"])
def test_another_request_id_is_replaced(backend: Caller, sent: str) -> None:
    answer = backend.client.get(A_TASK, headers=backend.account.bearer, HTTP_X_REQUEST_ID=sent)

    assert re.fullmatch("[0-9a-f]{32}", answer["X-Request-Id"])


def test_success_has_a_request_id_too(backend: Caller) -> None:
    first, second = backend.submit(), backend.submit()

    assert first["X-Request-Id"] != second["X-Request-Id"]


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_database_that_is_away_is_503_with_a_time_to_try_again(
    backend: Caller, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any) -> Any:
        raise error("connection to server at 10.1.2.3 failed: password=hunter2")

    with connection.execute_wrapper(away):
        answers = [backend.submit(), backend.poll(uuid.uuid4())]

    for answer in answers:
        assert_shape(answer, status=503, code="database_unavailable")
        assert answer["Retry-After"] == "5"
    assert "hunter2" not in caplog.text
    assert not AgentTask.objects.exists()


def test_an_unforeseen_exception_says_nothing_to_the_caller_and_shows_no_local_variable(
    backend: Caller,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(**_: Any) -> Any:
        canary = "-".join(["local", "canary"])  # what a careless traceback would show
        raise RuntimeError("insides" if canary else "")

    monkeypatch.setattr("tasks_app.api.views.tasks.create_task", broken)

    answer = backend.submit(prompt="prompt-canary")

    assert_shape(answer, status=500, code="internal_error")
    assert "insides" not in answer.content.decode()
    records = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert records
    written = "\n".join(_lines(each) for each in records)
    assert "RuntimeError: insides" in written
    assert "prompt-canary" not in written
    assert "local-canary" not in written
    assert backend.account.key not in written
    assert backend.account.token not in written


def _lines(record: logging.LogRecord) -> str:
    """Format a record as the process's own handler does."""
    made = dict(settings.LOGGING["formatters"]["lines"])
    return str(made.pop("()")(**made).format(record))


def test_no_log_line_of_ours_holds_the_prompt_the_key_or_the_token(
    backend: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    backend.submit(prompt="prompt-canary")
    backend.submit(prompt="prompt-canary", caylex_api_key=backend.account.key + "x")
    backend.poll("f55a0be6-dd20-4f37-96c8-b7b8119797ba?secret=query-canary")

    ours = [each for each in caplog.records if not each.name.startswith("django.db")]
    written = "\n".join(_lines(each) for each in ours)
    assert '"path": "/api/v1/agent-task"' in written
    assert "canary" not in written
    assert backend.account.key not in written
    assert backend.account.token not in written
