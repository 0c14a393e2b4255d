"""The platform token: every way of not having one is the same 401."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest
from django.test import Client

from caylex_project.accounts.models import PlatformToken
from tasks_app.models import AgentTask
from tests.support.accounts import SUBMIT, Account, Caller

PATHS = [("post", SUBMIT), ("get", f"{SUBMIT}/f55a0be6-dd20-4f37-96c8-b7b8119797ba")]


def refused(client: Client, method: str, path: str, header: Any) -> dict[str, Any]:
    """Ask with that header, assert the 401, and return its body without the request's id."""
    extra = {} if header is None else {"HTTP_AUTHORIZATION": header}
    answer = client.generic(method.upper(), path, b"{}", "application/json", **extra)
    assert answer.status_code == 401, header
    assert answer["WWW-Authenticate"] == "Bearer"
    body: dict[str, Any] = answer.json()
    assert body.pop("request_id") == answer["X-Request-Id"]
    return body


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_every_bad_header_gets_one_and_the_same_answer(
    acme: Account, method: str, path: str
) -> None:
    name, secret = acme.token.split(".")
    headers = [
        None,
        "",
        "Bearer",
        "Bearer ",
        acme.token,
        f"Basic {acme.token}",
        f"Token {acme.token}",
        f"Bearer{acme.token}",
        f"Bearer {acme.token} more",
        f"Bearer {acme.token},Bearer {acme.token}",
        f"Bearer {acme.token[:-1]}",
        f"Bearer {acme.token}x",
        f"Bearer {acme.token.upper()}",
        f"Bearer {name}.{'A' * 43}",
        f"Bearer cpt_{uuid.uuid4().hex}.{secret}",
        f"Bearer {acme.key}",
        "Bearer \xff",
        "\xff\xfe",
        f"Bearer {acme.token}\x00",
        "Bearer \x00",
        "Bearer \u2603",
        "Bearer " + "x" * 15_000,
        "Bearer " + "cpt_" * 3_000,
    ]

    bodies = [refused(Client(), method, path, header) for header in headers]

    assert bodies == [
        {
            "detail": "Send a valid platform access token as a bearer token.",
            "code": "unauthenticated",
        }
    ] * len(headers)
    assert not AgentTask.objects.exists()


@pytest.mark.parametrize("field", ["revoked_at", "expires_at"])
def test_a_token_that_has_stopped_working_is_refused_and_its_tasks_stay(
    backend: Caller, acme: Account, field: str
) -> None:
    task_id = backend.submit().json()["task_id"]
    past = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    PlatformToken.objects.filter(pk=acme.token_row.pk).update(**{field: past})

    for method, path in [*PATHS, ("get", f"{SUBMIT}/{task_id}")]:
        refused(Client(), method, path, f"Bearer {acme.token}")

    assert AgentTask.objects.get().status == "PENDING"


def test_a_token_works_until_its_expiry(backend: Caller, acme: Account) -> None:
    future = datetime.datetime(2999, 1, 1, tzinfo=datetime.UTC)
    PlatformToken.objects.filter(pk=acme.token_row.pk).update(expires_at=future)

    assert backend.submit().status_code == 202


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_compared_without_regard_to_case(
    acme: Account, scheme: str, backend: Caller
) -> None:
    answer = backend.poll(uuid.uuid4(), Authorization=f"{scheme} {acme.token}")

    assert answer.status_code == 404


def test_an_unknown_and_a_wrong_token_cost_the_same_queries(
    acme: Account, django_assert_num_queries: Any
) -> None:
    name, secret = acme.token.split(".")
    for token in (f"cpt_{uuid.uuid4().hex}.{secret}", f"{name}.{'A' * 43}", "nonsense", ""):
        with django_assert_num_queries(1):
            refused(Client(), "post", SUBMIT, f"Bearer {token}")


def test_a_staff_session_is_no_token(admin_client: Client) -> None:
    refused(admin_client, "post", SUBMIT, None)
