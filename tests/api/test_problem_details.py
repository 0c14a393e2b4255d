"""RFC 9457: who accepts `application/problem+json` gets every error so, and success as ever."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from caylex_project.asgi import application
from caylex_project.web.connection import CONNECTION, Connection
from caylex_project.web.http_problem import PROBLEM_JSON, accepts
from tests.support.accounts import SUBMIT, Account, Caller


class Cycle:
    """A server's record of a request whose client stays."""

    disconnected = False


NOWHERE = f"{SUBMIT}/f55a0be6-dd20-4f37-96c8-b7b8119797ba"
ASKED = {"Accept": PROBLEM_JSON}


def assert_details(answer: Any, *, status: int, code: str, title: str, path: str) -> None:
    assert (answer.status_code, answer["Content-Type"]) == (status, PROBLEM_JSON)
    body = dict(answer.json())
    assert body.pop("errors", None) != []
    assert body.pop("detail").endswith(".")
    assert body == {
        "type": f"/api/v1/docs#{code}",
        "title": title,
        "status": status,
        "instance": path,
        "code": code,
        "request_id": answer["X-Request-Id"],
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "title"),
    [
        ("GET", NOWHERE, 404, "task_not_found", "Not Found"),
        ("GET", f"{NOWHERE}/events?limit=x", 400, "invalid_parameter", "Bad Request"),
        ("GET", f"{NOWHERE}/events?a=%00", 400, "invalid_parameter", "Bad Request"),
        ("DELETE", SUBMIT, 405, "method_not_allowed", "Method Not Allowed"),
        ("GET", "/api/v1/none%20%C3%A9", 404, "not_found", "Not Found"),
        ("POST", "/api/v1/docs", 405, "method_not_allowed", "Method Not Allowed"),
        ("POST", SUBMIT, 400, "required", "Bad Request"),
    ],
)
def test_errors_of_views_addresses_and_middleware_come_so(
    backend: Caller, method: str, path: str, status: int, code: str, title: str
) -> None:
    headers = {**backend.account.bearer, **ASKED}
    answer = backend.client.generic(method, path, "", "application/json", headers=headers)

    where = path.partition("?")[0]
    assert_details(answer, status=status, code=code, title=title, path=where)


def test_the_fields_the_401_and_the_503_come_so_too(backend: Caller, acme: Account) -> None:
    answer = backend.post(json.dumps(acme.body(promt="x")), headers=ASKED)
    assert_details(answer, status=400, code="unknown_field", title="Bad Request", path=SUBMIT)
    assert answer.json()["errors"][0]["field"] == "promt"

    answer = backend.client.get(NOWHERE, headers=ASKED)
    assert_details(answer, status=401, code="unauthenticated", title="Unauthorized", path=NOWHERE)
    assert answer["WWW-Authenticate"] == "Bearer"

    def away(*_: Any) -> Any:
        raise OperationalError

    with connection.execute_wrapper(away):
        answer = backend.poll(uuid.UUID(int=1), **ASKED)
    title = "Service Unavailable"
    path = f"{SUBMIT}/{uuid.UUID(int=1)}"
    assert_details(answer, status=503, code="database_unavailable", title=title, path=path)
    assert answer["Retry-After"] == "5"


def test_a_bad_host_and_an_unforeseen_exception_come_so(
    backend: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Client().get(SUBMIT, headers={**ASKED, "Host": "evil.example"})
    assert_details(answer, status=400, code="host_not_allowed", title="Bad Request", path=SUBMIT)

    def broken(**_: Any) -> Any:
        raise RuntimeError("insides")

    monkeypatch.setattr("tasks_app.api.views.tasks.create_task", broken)
    answer = backend.post(json.dumps(backend.account.body()), headers=ASKED)
    title = "Internal Server Error"
    assert_details(answer, status=500, code="internal_error", title=title, path=SUBMIT)


def test_a_success_is_json_all_the_same(backend: Caller, acme: Account) -> None:
    answer = backend.post(json.dumps(acme.body()), headers=ASKED)

    assert (answer.status_code, answer["Content-Type"]) == (202, "application/json")
    assert "type" not in answer.json()


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/json, application/problem+json", PROBLEM_JSON),
        ("APPLICATION/Problem+JSON; q=0.5", PROBLEM_JSON),
        ("application/problem+json;q=0, */*", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("", "application/json"),
    ],
)
def test_only_who_names_the_type_gets_it(backend: Caller, accept: str, content_type: str) -> None:
    answer = backend.poll(uuid.uuid4(), Accept=accept)

    assert (answer.status_code, answer["Content-Type"]) == (404, content_type)


@pytest.mark.parametrize(
    ("extra", "query", "status", "code"),
    [
        ((b"content-length", b"9000000"), b"", 413, "body_too_large"),
        ((b"content-type", b"a; b*=c"), b"", 415, "unsupported_media_type"),
        ((b"x", b"y"), b"\xff", 400, "bad_request"),
    ],
)
@pytest.mark.parametrize("wanted", [True, False])
def test_what_the_guard_refuses_comes_so(
    extra: tuple[bytes, bytes], query: bytes, status: int, code: str, wanted: bool
) -> None:
    accept = [(b"accept", b"application/json"), (b"accept", PROBLEM_JSON.encode())]
    scope = {
        "type": "http",
        "method": "POST",
        "path": SUBMIT,
        "query_string": query,
        "headers": [*(accept if wanted else accept[:1]), extra],
        CONNECTION: Connection(client=None, scheme="http", request=Cycle()),
    }
    start, body = ask(scope)

    headers = dict(start["headers"])
    assert start["status"] == status
    assert headers[b"content-type"].decode() == (PROBLEM_JSON if wanted else "application/json")
    assert (body["code"], body["request_id"]) == (code, headers[b"x-request-id"].decode())
    assert body.get("instance") == (SUBMIT if wanted else None)
    assert body.get("status") == (status if wanted else None)


def ask(scope: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ask the whole ASGI application, in this process."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(application(scope, receive, send))
    return sent[0], json.loads(b"".join(each.get("body", b"") for each in sent[1:]))


@given(st.text(max_size=60) | st.from_regex(r"[a-z*/+,;=q. 0-9]{0,60}"))
def test_no_accept_header_breaks_the_reading(header: str) -> None:
    assert accepts(header, frozenset({PROBLEM_JSON})) in (True, False)
