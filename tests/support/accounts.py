"""Two tenants, each with a project, a navigator, a key and a token, and a caller for each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.core import signals
from django.db import close_old_connections
from django.test import Client

from caylex_project.accounts.keys import issue_navigator_key, issue_platform_token
from caylex_project.accounts.models import Navigator, NavigatorKey, PlatformToken, Project, Tenant

SUBMIT = "/api/v1/agent-task"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A tenant with one of everything, and the two secrets that are shown once."""

    tenant: Tenant
    project: Project
    navigator: Navigator
    token_row: PlatformToken
    key_row: NavigatorKey
    token: str
    key: str

    def body(self, **fields: Any) -> dict[str, Any]:
        """A valid submission, but for `fields`."""
        return {
            "caylex_api_key": self.key,
            "user_email": "jane@example.com",
            "prompt": "Count the tickets.",
            **fields,
        }

    @property
    def bearer(self) -> dict[str, str]:
        """The header that proves who asks."""
        return {"Authorization": f"Bearer {self.token}"}


def make_account(name: str) -> Account:
    """Make a tenant of that name and all that it needs to submit."""
    tenant = Tenant.objects.create(name=name)
    project = Project.objects.create(tenant=tenant, name="support")
    navigator = Navigator.objects.create(project=project, name="bot")
    token_row, token = issue_platform_token(tenant=tenant, name="backend")
    key_row, key = issue_navigator_key(navigator=navigator)
    return Account(
        tenant=tenant,
        project=project,
        navigator=navigator,
        token_row=token_row,
        key_row=key_row,
        token=token,
        key=key,
    )


class Caller:
    """A backend: it sends JSON with its token, and never sees an exception of ours."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.client = Client(raise_request_exception=False)

    def submit(self, **fields: Any) -> Any:
        """POST a valid submission, but for `fields`."""
        return self.post(json.dumps(self.account.body(**fields)))

    def post(
        self,
        body: str | bytes,
        *,
        path: str = SUBMIT,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> Any:
        """POST any body."""
        return self.client.post(
            path,
            body,
            content_type=content_type,
            headers={**self.account.bearer, **(headers or {})},
        )

    def poll(self, task_id: Any, **headers: str) -> Any:
        """GET a task."""
        return self.client.get(f"{SUBMIT}/{task_id}", headers={**self.account.bearer, **headers})


@pytest.fixture
def acme(db: None) -> Account:
    """The tenant that most tests are about."""
    return make_account("acme")


@pytest.fixture
def rival(db: None) -> Account:
    """Another tenant."""
    return make_account("rival")


@pytest.fixture
def backend(acme: Account) -> Caller:
    """Acme's backend."""
    return Caller(acme)


@pytest.fixture
def stranger(rival: Account) -> Caller:
    """The rival's backend."""
    return Caller(rival)


@pytest.fixture
def one_connection(db: None) -> Iterator[None]:
    """Keep the requests on the test's own connection, inside its transaction."""
    ends = (signals.request_started, signals.request_finished)
    for each in ends:
        each.disconnect(close_old_connections)
    yield
    for each in ends:
        each.connect(close_old_connections)
