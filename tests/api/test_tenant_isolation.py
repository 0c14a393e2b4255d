"""Another tenant at every address of the API: what is not its own does not exist for it."""

from __future__ import annotations

import json
import uuid
from typing import Any

import yaml
from django.apps import apps
from django.test import Client

from caylex_project.accounts.models import Navigator, Project
from skills_app.models import Skill
from tasks_app.models import AgentTask
from tests.api.test_openapi import FAILED, OPENAPI
from tests.api.test_poll import ended, make_task
from tests.api.test_submit import make_skill
from tests.support.accounts import SUBMIT, Account, Caller
from tests.support.journal_rows import lived

BODIES = {"patch": {"metadata": {"a": "1"}}, "continue": {"message": "Go on."}}


def rows() -> dict[str, list[Any]]:
    """Return every row of the tasks and what hangs on them."""
    models = apps.get_app_config("tasks_app").get_models()
    return {each.__name__: list(each._default_manager.order_by("pk").values()) for each in models}


def operations() -> list[tuple[str, str]]:
    """Return method and path of all that is described and names a task or a session."""
    described = yaml.safe_load(Client().get(OPENAPI).content)["paths"]
    return [(method, path) for path, each in described.items() for method in each if "{" in path]


def said(caller: Caller, method: str, path: str, **ids: Any) -> tuple[int, dict[str, Any]]:
    """Ask with all that is needed; return the status and the body without the request's id."""
    body = BODIES.get(path.rpartition("/")[2], BODIES.get(method, {}))
    reads = method == "get"
    answer = caller.client.generic(
        method.upper(),
        path.format(**ids),
        b"" if reads else json.dumps(body).encode(),
        "application/json",
        headers=caller.account.bearer,
    )
    read: dict[str, Any] = answer.json()
    read.pop("request_id")
    return answer.status_code, read


def test_no_operation_tells_a_stranger_s_task_from_none_or_touches_it(
    stranger: Caller, acme: Account
) -> None:
    theirs = [lived(acme), make_task(acme), ended(acme, **FAILED)]
    before, asked = rows(), operations()
    assert len(asked) == 10

    for method, path in asked:
        nobodys = said(stranger, method, path, task_id=uuid.uuid4(), session_id=uuid.uuid4())
        assert nobodys[0] == 404, (method, path)
        for task in theirs:
            ids = {"task_id": task.id, "session_id": task.session_id}
            assert said(stranger, method, path, **ids) == nobodys, (method, path)

    assert rows() == before


def test_no_filter_of_a_list_leads_to_a_stranger_s_task(
    backend: Caller, stranger: Caller, acme: Account
) -> None:
    make_skill({"project": acme.project}, name="Weekly", slug="weekly")
    task_id = backend.submit(skill_ref="weekly", metadata={"order": "7"}).json()["task_id"]

    for query in (
        *("", "status=PENDING", f"project_id={acme.project.pk}", "metadata[order]=7"),
        *("user_email=jane@example.com", "skill=weekly", "created_after=2020-01-01T00:00Z"),
    ):
        mine, theirs = (
            each.client.get(f"{SUBMIT}?{query}", headers=each.account.bearer).json()
            for each in (backend, stranger)
        )
        assert [each["task_id"] for each in mine["items"]] == [task_id], query
        assert (theirs["items"], theirs["meta"]["total"]) == ([], 0), query


def test_a_key_opens_nothing_of_another_tenant_or_project(
    backend: Caller, acme: Account, rival: Account
) -> None:
    other = Project.objects.create(tenant=acme.tenant, name="sales")
    bot = Navigator.objects.create(project=other, name="seller")
    for owner in ({"project": other}, {"navigator": bot}, {"project": rival.project}):
        make_skill(owner, name="Secret", slug="secret")
        assert backend.submit(skill_ref="secret").json()["code"] == "skill_not_found", owner
        Skill.objects.all().delete()

    foreign = backend.post(json.dumps(rival.body()))

    assert (foreign.status_code, foreign.json()["code"]) == (403, "invalid_api_key")
    assert not AgentTask.objects.exists()
