"""How many tasks may wait: over it nothing more is taken on, and what was is not touched."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_q.models import OrmQ

from caylex_project.accounts.models import EndUser, Project, Tenant
from tasks_app.models import AgentTask, Event, IdempotencyKey
from tests.admin.test_bulk_actions import do, staff, told
from tests.api.test_poll import ended, make_task, running
from tests.support.accounts import SUBMIT, Account, Caller, make_account

pytestmark = pytest.mark.django_db

SENTENCE = (
    "The {} has 2 waiting tasks, as many as it may have. Try again when some of them have been "
    "started."
)
SCOPES = {"tenant": "max_pending", "project": "max_pending", "end user": "max_pending_per_user"}


def limit(account: Account, scope: str, *, to: int = 2) -> None:
    limited: type[Tenant] | type[Project] = Tenant if scope == "tenant" else Project
    pk = account.tenant.pk if scope == "tenant" else account.project.pk
    limited.objects.filter(pk=pk).update(limits={SCOPES[scope]: to})


def rows() -> list[dict[str, Any]]:
    return [dict(each) for each in AgentTask.objects.order_by("pk").values()]


def assert_refused(answer: Any, scope: str) -> None:
    assert answer.status_code == 429
    assert answer["Retry-After"] == "5"
    body = answer.json()
    assert (body["code"], body["detail"]) == ("too_many_pending", SENTENCE.format(scope))


@pytest.mark.parametrize("scope", SCOPES)
def test_over_the_limit_a_submit_is_429_and_makes_nothing(
    backend: Caller, acme: Account, scope: str
) -> None:
    limit(acme, scope)
    email = "jane@example.com" if scope == "end user" else "new@example.com"
    assert [backend.submit().status_code for _ in range(2)] == [202, 202]

    body = json.dumps(acme.body(user_email=email))
    assert_refused(backend.post(body, headers={"Idempotency-Key": "third"}), scope)

    assert AgentTask.objects.count() == OrmQ.objects.count() == 2
    assert EndUser.objects.count() == 1
    assert not IdempotencyKey.objects.exists()


def test_what_does_not_wait_and_what_is_another_s_takes_no_place(
    backend: Caller, acme: Account
) -> None:
    for scope in ("tenant", "end user"):
        limit(acme, scope)
    running(acme)
    ended(acme, status="COMPLETED", stop_reason="final_report", report="Done.")
    make_task(make_account("another"))
    joe = EndUser.objects.create(project=acme.project, email="joe@example.com")
    make_task(acme, end_user=joe)

    assert backend.submit().status_code == 202
    assert_refused(backend.submit(), "tenant")
    AgentTask.objects.filter(end_user=joe).delete()
    assert backend.submit().status_code == 202


def test_a_replay_is_answered_though_there_is_no_place(backend: Caller, acme: Account) -> None:
    limit(acme, "project", to=1)
    key = {"Idempotency-Key": "one"}
    first, again = (backend.post(json.dumps(acme.body()), headers=key) for _ in range(2))

    assert (first.status_code, again.status_code) == (202, 202)
    assert (again.json(), again["Idempotent-Replayed"]) == (first.json(), "true")


@pytest.mark.parametrize(
    ("operation", "body"), [("retry", {}), ("continue", {"message": "Go on."}), ("rerun", {})]
)
def test_what_would_let_a_task_wait_again_is_refused_likewise(
    backend: Caller, acme: Account, operation: str, body: dict[str, str]
) -> None:
    limit(acme, "end user")
    old = ended(acme, status="FAILED", stop_reason="error", error="No credit.")
    make_task(acme)
    make_task(acme)
    before = rows()

    path = f"{SUBMIT}/{old.id}/{operation}"
    assert_refused(backend.post(json.dumps(body), path=path), "end user")

    assert rows() == before
    assert not Event.objects.exists()
    assert not OrmQ.objects.exists()
    AgentTask.objects.exclude(pk=old.pk).delete()
    assert backend.post(json.dumps(body), path=path).status_code == 202


def test_staff_are_told_why_a_retry_was_not_done(acme: Account) -> None:
    limit(acme, "project")
    old = ended(acme, status="FAILED", stop_reason="error", error="No credit.")
    make_task(acme)
    make_task(acme)
    before = rows()

    answer = do(staff("olga", "view_agenttask", "change_agenttask"), "retry", old)

    assert told(answer) == [("warning", f"Not retried: 1. {SENTENCE.format('project')}")]
    assert rows() == before


def test_it_is_counted_no_further_than_the_limit_and_not_at_all_without_one(
    backend: Caller, acme: Account
) -> None:
    backend.submit()
    with CaptureQueriesContext(connection) as free:
        assert backend.submit().status_code == 202
    Tenant.objects.update(limits={"max_pending": 7})
    Project.objects.update(limits={"max_pending": 7, "max_pending_per_user": 7})
    with CaptureQueriesContext(connection) as limited:
        assert backend.submit().status_code == 202

    counts = [each["sql"] for each in limited if "COUNT" in each["sql"]]
    assert len(counts) == len(limited) - len(free) == 3
    assert all("LIMIT 7" in sql for sql in counts)
