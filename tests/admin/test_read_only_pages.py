"""The admin of tasks: to look at, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from tasks_app.models import AgentTask, Event, Step, ToolCall, Worker
from tests.api.test_poll import CREATED, add_call, add_step, running
from tests.support.accounts import Account

MODELS = [AgentTask, Step, ToolCall, Event, Worker]


@pytest.fixture
def rows(acme: Account) -> dict[Any, Any]:
    """One row of each model, the report full of markup."""
    task = running(acme, prompt="<script>alert(1)</script>")
    step = add_step(task, index=1)
    call = add_call(step, index=0, tool="search", state="succeeded")
    event = Event.objects.create(task=task, sequence=1, kind="resumed", at=CREATED)
    return {AgentTask: task, Step: step, ToolCall: call, Event: event, Worker: task.worker}


def page(model: Any, view: str, *arguments: Any) -> str:
    return reverse(f"admin:tasks_app_{model._meta.model_name}_{view}", args=arguments)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_list_and_a_page_under_the_strict_policy(
    admin_client: Client, rows: dict[Any, Any], model: Any
) -> None:
    for path in (page(model, "changelist"), page(model, "change", rows[model].pk)):
        answer = admin_client.get(path, secure=True)

        assert answer.status_code == 200
        assert "unsafe" not in answer["Content-Security-Policy"]
        assert "script-src 'self'" in answer["Content-Security-Policy"]
        assert b"<script>alert" not in answer.content
        assert answer["X-Request-Id"]


def test_a_task_s_page_leads_to_its_steps_and_a_step_s_to_its_calls(
    admin_client: Client, rows: dict[Any, Any]
) -> None:
    task = admin_client.get(page(AgentTask, "change", rows[AgentTask].pk), secure=True)
    step = admin_client.get(page(Step, "change", rows[Step].pk), secure=True)

    assert page(Step, "change", rows[Step].pk) in task.content.decode()
    assert page(ToolCall, "change", rows[ToolCall].pk) in step.content.decode()


@pytest.mark.parametrize("model", MODELS)
def test_nobody_adds_changes_or_deletes(
    admin_client: Client, rows: dict[Any, Any], model: Any
) -> None:
    pk = rows[model].pk
    before = model.objects.values().get(pk=pk)

    for path in (page(model, "add"), page(model, "delete", pk), page(model, "change", pk)):
        answer = admin_client.post(path, {"post": "yes", "status": "FAILED"}, secure=True)
        assert answer.status_code == 403
    admin_client.post(
        page(model, "changelist"),
        {"action": "delete_selected", "_selected_action": str(pk), "post": "yes"},
        secure=True,
    )

    assert model.objects.values().get(pk=pk) == before


@pytest.mark.parametrize("model", MODELS)
def test_odd_filters_and_searches_are_never_a_server_error(
    admin_client: Client, rows: dict[Any, Any], model: Any
) -> None:
    for query in ("status=%00", "status__exact=%00", "p=99999", "o=1.-2.x", "q=%00", "e=1", "id=x"):
        answer = admin_client.get(f"{page(model, 'changelist')}?{query}", secure=True)
        assert answer.status_code in (200, 302, 400), query


def test_the_queue_s_own_admin_is_gone(admin_client: Client) -> None:
    assert not [each for each in admin.site._registry if each._meta.app_label == "django_q"]
    for name in ("schedule", "ormq", "success", "failure"):
        assert admin_client.get(f"/admin/django_q/{name}/", secure=True).status_code == 404


def test_who_is_not_staff_sees_nothing(client: Client, rows: dict[Any, Any]) -> None:
    answer = client.get(page(AgentTask, "change", rows[AgentTask].pk), secure=True)

    assert answer.status_code == 302
    assert "/admin/login/" in answer["Location"]
