"""Submitting a task: what is answered, what is kept, and what is refused before anything is."""

from __future__ import annotations

import datetime
import json
import uuid
from typing import Any

import pytest
from django.conf import settings
from django.db import transaction
from django_q.models import OrmQ

from caylex_project.accounts.models import EndUser, Navigator, NavigatorKey
from skills_app.models import Skill, SkillRevision
from tasks_app.models import AgentTask, Event
from tests.support.accounts import SUBMIT, Account, Caller


def made_nothing() -> bool:
    return not (AgentTask.objects.exists() or EndUser.objects.exists() or OrmQ.objects.exists())


def make_skill(owner: dict[str, Any], *, name: str, slug: str) -> Skill:
    skill = Skill.objects.create(slug=slug, **owner)
    skill.current = SkillRevision.objects.create(
        skill=skill, number=1, name=name, description="d", body="b", digest="0" * 64
    )
    skill.save()
    return skill


def test_a_submission_is_answered_with_202_and_the_address_to_poll(backend: Caller) -> None:
    answer = backend.submit()

    task = AgentTask.objects.get()
    assert answer.status_code == 202
    assert answer["Location"] == f"/api/v1/agent-task/{task.id}"
    assert answer["Content-Type"] == "application/json"
    assert answer.json() == {
        "task_id": str(task.id),
        "status": "queued",
        "model": settings.ENVIRONMENT.caylex_default_model,
        "model_warning": None,
        "resolved_skill": None,
        "skill_warning": None,
        "webhook_warning": None,
    }


def test_the_row_is_pending_and_due_and_belongs_to_the_key_s_project(
    backend: Caller, acme: Account
) -> None:
    backend.submit(prompt="  Count.\n", user_email="Jane@Example.com")

    task = AgentTask.objects.get()
    assert (task.status, task.attempt, task.epoch, task.worker_id) == ("PENDING", 0, 0, None)
    assert task.created_at == task.next_attempt_at
    assert (task.tenant_id, task.project_id) == (acme.tenant.id, acme.project.id)
    assert task.navigator_id == acme.navigator.id
    assert task.end_user.email == "jane@example.com"
    assert task.prompt == "  Count.\n"
    assert task.required_skill is None
    assert task.limits == {
        "schema": 1,
        "max_steps": 200,
        "max_tool_calls": None,
        "max_tokens": None,
        "max_cost_usd": None,
        "timeout_seconds": 14400.0,
    }
    assert not Event.objects.exists()


def test_the_doorbell_rings_in_the_task_s_own_transaction(
    backend: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def knock(*, task_id: uuid.UUID) -> None:
        seen.append(transaction.get_connection().in_atomic_block)
        raise RuntimeError("no doorbell")

    monkeypatch.setattr("tasks_app.operations.submit.send_wakeup", knock)
    answer = backend.submit()

    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert seen == [True]
    assert made_nothing()


def test_one_message_is_queued_for_one_task(backend: Caller) -> None:
    backend.submit()

    assert OrmQ.objects.count() == 1
    assert OrmQ.objects.get().task["args"] == (str(AgentTask.objects.get().id),)


def test_two_tasks_of_one_address_share_the_end_user_whatever_its_case(backend: Caller) -> None:
    backend.submit(user_email="JANE@example.com")
    backend.submit(user_email="jane@EXAMPLE.com")

    assert EndUser.objects.count() == 1
    assert AgentTask.objects.count() == 2


@pytest.mark.parametrize("path", [SUBMIT, f"{SUBMIT}/"])
def test_both_slash_forms_take_the_body_without_a_redirect(backend: Caller, path: str) -> None:
    assert backend.post(json.dumps(backend.account.body()), path=path).status_code == 202


def test_an_allowed_model_is_used(backend: Caller) -> None:
    answer = backend.submit(model="anthropic/claude-opus-4.8")

    assert answer.json()["model"] == "anthropic/claude-opus-4.8"
    assert answer.json()["model_warning"] is None
    assert AgentTask.objects.get().model == "anthropic/claude-opus-4.8"


def test_a_model_that_is_not_allowed_gives_way_to_the_agent_s_own_with_a_warning(
    backend: Caller, acme: Account
) -> None:
    Navigator.objects.update(model="google/gemini-3-pro-preview")

    answer = backend.submit(model="nobody/knows")

    assert answer.status_code == 202
    assert answer.json()["model"] == "google/gemini-3-pro-preview"
    assert answer.json()["model_warning"] == (
        "The model 'nobody/knows' is not allowed; 'google/gemini-3-pro-preview' is used instead. "
        f"Allowed models: {', '.join(settings.ENVIRONMENT.caylex_allowed_models)}."
    )
    assert AgentTask.objects.get().model == "google/gemini-3-pro-preview"


def test_the_project_caps_the_limits(backend: Caller, acme: Account) -> None:
    acme.project.limits = {"max_steps": 7, "max_tool_calls": 9, "timeout_seconds": 60.5}
    acme.project.save()

    backend.submit()

    assert AgentTask.objects.get().limits == {
        "schema": 1,
        "max_steps": 7,
        "max_tool_calls": 9,
        "max_tokens": None,
        "max_cost_usd": None,
        "timeout_seconds": 60.5,
    }


def test_the_project_cannot_raise_the_limits(backend: Caller, acme: Account) -> None:
    acme.project.limits = {"max_steps": 10_000, "timeout_seconds": 1_000_000.0}
    acme.project.save()

    backend.submit()

    limits = AgentTask.objects.get().limits
    assert (limits["max_steps"], limits["timeout_seconds"]) == (200, 14400.0)


@pytest.mark.parametrize("ref", ["weekly-report", "Weekly Report", "WEEKLY report"])
def test_a_skill_is_found_by_slug_or_by_name_in_any_case(
    backend: Caller, acme: Account, ref: str
) -> None:
    skill = make_skill({"project": acme.project}, name="Weekly Report", slug="weekly-report")

    answer = backend.submit(skill_ref=ref)

    resolved = {
        "id": str(skill.id),
        "name": "Weekly Report",
        "slug": "weekly-report",
        "source": "project",
    }
    assert answer.status_code == 202
    assert answer.json()["resolved_skill"] == resolved
    assert answer.json()["skill_warning"] is None
    assert AgentTask.objects.get().required_skill == resolved


def test_the_project_s_skill_wins_a_clash_and_the_answer_says_so(
    backend: Caller, acme: Account
) -> None:
    make_skill({"navigator": acme.navigator}, name="Weekly", slug="weekly")
    mine = make_skill({"project": acme.project}, name="Weekly", slug="weekly")

    body = backend.submit(skill_ref="weekly").json()

    assert body["resolved_skill"]["id"] == str(mine.id)
    assert body["resolved_skill"]["source"] == "project"
    assert isinstance(body["skill_warning"], str)


def test_a_global_skill_of_the_navigator_is_found(backend: Caller, acme: Account) -> None:
    make_skill({"navigator": acme.navigator}, name="Weekly", slug="weekly")

    body = backend.submit(skill_ref="weekly").json()

    assert body["resolved_skill"]["source"] == "global"


@pytest.mark.parametrize("ref", ["unknown", " ", "x" * 5000, "%", "we_kly"])
def test_an_unknown_skill_is_404_and_makes_no_task(
    backend: Caller, acme: Account, ref: str
) -> None:
    make_skill({"project": acme.project}, name="Weekly", slug="weekly")

    answer = backend.submit(skill_ref=ref)

    assert answer.status_code == 404
    assert answer.json()["code"] == "skill_not_found"
    assert made_nothing()


def test_a_skill_of_another_tenant_is_404(backend: Caller, rival: Account) -> None:
    make_skill({"project": rival.project}, name="Secret", slug="secret")

    assert backend.submit(skill_ref="secret").status_code == 404
    assert made_nothing()


@pytest.mark.parametrize(
    "optional",
    ["skill_ref", "model", "approval_mode", "background_agent_auto_approve_tools"],
)
def test_null_is_absent_in_every_optional_field(backend: Caller, optional: str) -> None:
    assert backend.submit(**{optional: None}).status_code == 202


def test_what_always_happens_may_be_asked_for(backend: Caller) -> None:
    answer = backend.submit(approval_mode="exclude", background_agent_auto_approve_tools=False)

    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("caylex_api_key", None, "invalid_type"),
        ("caylex_api_key", "", "blank"),
        ("caylex_api_key", 5, "invalid_type"),
        ("user_email", None, "invalid_type"),
        ("user_email", "", "invalid_email"),
        ("user_email", "jane", "invalid_email"),
        ("user_email", " jane@example.com", "invalid_email"),
        ("user_email", "jane@example.com\n", "invalid_email"),
        ("user_email", f"{'j' * 250}@example.com", "too_long"),
        ("user_email", ["jane@example.com"], "invalid_type"),
        ("prompt", None, "invalid_type"),
        ("prompt", "", "blank"),
        ("prompt", " \t\r\n\u3000", "blank"),
        ("prompt", "x" * 100_001, "too_long"),
        ("prompt", 5, "invalid_type"),
        ("prompt", True, "invalid_type"),
        ("prompt", {"text": "x"}, "invalid_type"),
        ("skill_ref", "", "blank"),
        ("skill_ref", 5, "invalid_type"),
        ("model", "", "blank"),
        ("model", False, "invalid_type"),
        ("approval_mode", "human", "not_supported"),
        ("approval_mode", "auto_approve", "not_supported"),
        ("approval_mode", "", "not_supported"),
        ("approval_mode", False, "invalid_type"),
        ("background_agent_auto_approve_tools", True, "not_supported"),
        ("background_agent_auto_approve_tools", 0, "invalid_type"),
        ("background_agent_auto_approve_tools", "false", "invalid_type"),
        ("promt", "x", "unknown_field"),
        ("task_id", "f55a0be6-dd20-4f37-96c8-b7b8119797ba", "unknown_field"),
        ("status", "COMPLETED", "unknown_field"),
        ("Prompt", "x", "unknown_field"),
        ("", "x", "unknown_field"),
    ],
)
def test_a_wrong_field_is_400_with_the_field_named(
    backend: Caller, field: str, value: Any, code: str
) -> None:
    answer = backend.submit(**{field: value})

    assert answer.status_code == 400
    body = answer.json()
    assert body["code"] == code
    assert [(each["field"], each["code"]) for each in body["errors"]] == [(field, code)]
    assert body["request_id"] == answer["X-Request-Id"]
    assert made_nothing()


@pytest.mark.parametrize("field", ["caylex_api_key", "user_email", "prompt"])
def test_a_missing_required_field_is_400(backend: Caller, field: str) -> None:
    body = backend.account.body()
    del body[field]

    answer = backend.post(json.dumps(body))

    assert answer.status_code == 400
    assert answer.json()["errors"] == [
        {"field": field, "code": "required", "message": "This field is required."}
    ]
    assert made_nothing()


def test_several_wrong_fields_are_all_named(backend: Caller) -> None:
    body = backend.submit(prompt="", promt="x", model=5).json()

    assert body["code"] == "invalid_request"
    assert {(each["field"], each["code"]) for each in body["errors"]} == {
        ("prompt", "blank"),
        ("promt", "unknown_field"),
        ("model", "invalid_type"),
    }


def test_a_prompt_of_the_full_length_is_taken_however_it_is_escaped(backend: Caller) -> None:
    prompt = "\U0001f600" * 100_000

    answer = backend.post(json.dumps(backend.account.body(prompt=prompt), ensure_ascii=True))

    assert answer.status_code == 202
    assert AgentTask.objects.get().prompt == prompt


def test_the_bad_keys_are_one_403_with_one_body(
    backend: Caller, acme: Account, rival: Account
) -> None:
    keyid, secret = acme.key.split(".")
    unknown = f"ck_{uuid.uuid4().hex}.{secret}"
    wrong = f"{keyid}.{'A' * 43}"
    bad = [unknown, wrong, rival.key, "x", "ck_", acme.token, "ck_\u00e9.x", "x" * 100_000]

    bodies = []
    for key in bad:
        answer = backend.submit(caylex_api_key=key)
        assert answer.status_code == 403
        body = answer.json()
        del body["request_id"]
        bodies.append(body)

    assert bodies == [
        {"detail": "The caylex_api_key is not valid.", "code": "invalid_api_key"}
    ] * len(bad)
    assert made_nothing()


@pytest.mark.parametrize("field", ["revoked_at", "expires_at"])
def test_a_key_that_has_stopped_working_is_the_same_403(
    backend: Caller, acme: Account, field: str
) -> None:
    past = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    NavigatorKey.objects.filter(pk=acme.key_row.pk).update(**{field: past})

    answer = backend.submit()

    assert (answer.status_code, answer.json()["code"]) == (403, "invalid_api_key")
    assert made_nothing()


def test_an_unknown_and_a_wrong_key_cost_the_same_queries(
    backend: Caller, acme: Account, django_assert_num_queries: Any
) -> None:
    keyid, secret = acme.key.split(".")
    for key in (f"ck_{uuid.uuid4().hex}.{secret}", f"{keyid}.{'A' * 43}", "nonsense"):
        with django_assert_num_queries(2):  # the token, the key
            backend.submit(caylex_api_key=key)


def test_the_checks_come_in_their_order(backend: Caller, acme: Account) -> None:
    wrong_everything = {"caylex_api_key": "ck_no", "prompt": "", "skill_ref": "none"}
    anonymous = backend.client.post(
        SUBMIT, json.dumps(acme.body(**wrong_everything)), content_type="application/json"
    )

    assert anonymous.status_code == 401
    assert backend.submit(**wrong_everything).status_code == 400
    assert backend.submit(**{**wrong_everything, "prompt": "x"}).status_code == 403
    assert backend.submit(skill_ref="none").status_code == 404
    assert made_nothing()


def test_a_submission_costs_few_queries(
    backend: Caller, django_assert_max_num_queries: Any
) -> None:
    backend.submit()
    # token, key, savepoint, end user, task, message, (notify), release
    with django_assert_max_num_queries(8):
        assert backend.submit().status_code == 202


def test_a_priority_is_kept_and_one_beyond_nine_is_refused(backend: Caller) -> None:
    assert backend.submit(priority=9).status_code == 202
    assert backend.submit(priority=None).status_code == 202
    assert list(AgentTask.objects.order_by("created_at").values_list("priority", flat=True)) == [
        9,
        0,
    ]
    for wrong, code in ((10, "out_of_range"), (-1, "out_of_range"), ("5", "invalid_type")):
        answer = backend.submit(priority=wrong)
        assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert AgentTask.objects.count() == 2
