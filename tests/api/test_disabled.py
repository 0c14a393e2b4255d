"""Disabling a tenant, a project or an end user, and what the API says of it and of a pause."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from caylex_project.accounts.models import AuditEntry, EndUser, Project, Tenant
from tasks_app.models import AgentTask
from tasks_app.operations.disabling import BATCH_SIZE, cancel_disabled_batch, disable, enable
from tasks_app.states import Status
from tasks_app.webhooks.deliveries import claim_messages
from tests.skills.test_skill_pages import staff
from tests.support.accounts import Caller
from tests.support.engine_rows import claimed_task, copies
from tests.support.factories import AgentTaskFactory, EndUserFactory
from tests.support.webhook_rows import a_delivery

pytestmark = pytest.mark.django_db

SUBMIT = "/api/v1/agent-task"
SCOPES = ["tenant", "project", "end user"]


def scope_of(backend: Caller, name: str) -> Any:
    if name == "end user":
        return EndUserFactory.create(project=backend.account.project, email="jane@example.com")
    return getattr(backend.account, name)


@pytest.mark.parametrize("name", SCOPES)
def test_nothing_is_taken_from_what_is_disabled_until_it_is_enabled(
    backend: Caller, name: str
) -> None:
    first = backend.submit().json()["task_id"]
    AgentTask.objects.update(
        status=Status.FAILED, stop_reason="error", error="No credit.", completed_at=timezone.now()
    )
    scope = EndUser.objects.get() if name == "end user" else scope_of(backend, name)
    assert disable(scope, now=timezone.now())
    assert not disable(scope, now=timezone.now())
    refused = {"code": "disabled", "detail": f"The {name} is disabled."}
    for path, body in (
        (SUBMIT, backend.account.body()),
        (f"{SUBMIT}/{first}/retry", {}),
        (f"{SUBMIT}/{first}/rerun", {}),
        (f"{SUBMIT}/{first}/continue", {"message": "More."}),
    ):
        answer = backend.post(json.dumps(body), path=path)
        assert answer.status_code == 403, path
        assert refused.items() <= answer.json().items()
    assert AgentTask.objects.count() == 1
    assert backend.poll(first).status_code == (403 if name == "tenant" else 200)

    assert enable(scope)
    assert not enable(scope)
    assert backend.submit().status_code == 202


@pytest.mark.parametrize("name", SCOPES)
def test_disabling_in_the_admin_cancels_what_is_live_of_it_and_nothing_else(
    backend: Caller, name: str
) -> None:
    account = backend.account
    user = EndUserFactory.create(project=account.project)
    mine = {"tenant": account.tenant, "project": account.project, "end_user": user}
    waiting, ended = AgentTaskFactory.create_batch(2, **mine)
    AgentTask.objects.filter(pk=ended.pk).update(
        status=Status.COMPLETED,
        stop_reason="final_report",
        report="Done.",
        completed_at=timezone.now(),
    )
    others = AgentTaskFactory.create()
    scope: Any = user if name == "end user" else scope_of(backend, name)
    admin = staff("project admin")
    User.objects.update(is_superuser=name == "tenant")
    page = f"/admin/accounts/{scope._meta.model_name}/{scope.pk}/disable/"
    assert admin.get(page).status_code == 200
    assert type(scope).objects.get(pk=scope.pk).disabled_at is None  # asking does nothing

    assert admin.post(page, {"reason": "They left."}).status_code == 302

    entry = AuditEntry.objects.get(action="disable")
    assert (entry.object_id, entry.reason) == (str(scope.pk), "They left.")
    User.objects.all().delete()  # it does not hang on who asked
    AgentTaskFactory.create(**mine)  # a request that was under way meanwhile
    assert cancel_disabled_batch(now=timezone.now()) is False
    assert cancel_disabled_batch(now=timezone.now()) is False
    late = AgentTask.objects.exclude(pk__in=[waiting.pk, ended.pk, others.pk]).get()
    states = dict(AgentTask.objects.values_list("pk", "status"))
    assert states == {
        waiting.pk: Status.INCOMPLETE,
        ended.pk: Status.COMPLETED,
        others.pk: Status.PENDING,
        late.pk: Status.INCOMPLETE,
    }
    stopped = AgentTask.objects.get(pk=waiting.pk)
    assert (stopped.stop_reason, stopped.cancel_reason) == (
        "cancelled",
        f"The {name} was disabled.",
    )


def test_the_tasks_of_a_disabled_user_are_cancelled_in_portions(backend: Caller) -> None:
    backend.submit()
    task = AgentTask.objects.get()
    copies(task, count=BATCH_SIZE + 1)
    disable(task.end_user, now=timezone.now())
    assert cancel_disabled_batch(now=timezone.now()) is True
    assert AgentTask.objects.filter(status=Status.PENDING).count() == 2
    assert cancel_disabled_batch(now=timezone.now()) is False
    assert not AgentTask.objects.exclude(stop_reason="cancelled").exists()


def test_a_running_task_of_what_is_disabled_is_asked_to_stop(backend: Caller) -> None:
    task, _ = claimed_task()
    disable(task.project, now=timezone.now())
    cancel_disabled_batch(now=timezone.now())
    task.refresh_from_db()
    assert (task.status, task.cancel_reason) == (Status.RUNNING, "The project was disabled.")


def test_a_waiting_task_says_that_its_project_is_paused(backend: Caller) -> None:
    task = backend.submit().json()["task_id"]
    Project.objects.update(paused=True)
    answer = backend.poll(task).json()
    assert (answer["status"], answer["progress"]["current"]) == (
        "PENDING",
        "Its project is paused.",
    )
    Project.objects.update(paused=False)
    answer = backend.poll(task).json()
    assert answer["progress"]["current"] == "Waiting for a worker."


@pytest.mark.parametrize("scope", [Tenant, Project])
def test_messages_of_what_is_disabled_wait_until_it_is_enabled(
    scope: type[Tenant] | type[Project],
) -> None:
    a_delivery("https://x.example/")
    now = timezone.now()
    scope.objects.update(disabled_at=now)
    assert not claim_messages(under_way=(), now=now).messages
    scope.objects.update(disabled_at=None)
    assert len(claim_messages(under_way=(), now=now).messages) == 1
