"""Continuing and rerunning by API: the same task with more to do, and a new one of the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django_q.models import OrmQ

from skills_app.models import Skill
from tasks_app.models import AgentTask, Event
from tests.api.test_poll import KEYS, add_step, ended, make_task, running
from tests.support.accounts import SUBMIT, Account, Caller
from tests.support.factories import LIMITS, SkillFactory, StepFactory


def go_on(caller: Caller, task: AgentTask, *, slash: str = "", **body: Any) -> Any:
    return caller.post(json.dumps(body), path=f"{SUBMIT}/{task.id}/continue{slash}")


def rerun(caller: Caller, task: AgentTask, body: str = "", *, slash: str = "") -> Any:
    return caller.post(body, path=f"{SUBMIT}/{task.id}/rerun{slash}")


def completed(account: Account, **fields: Any) -> AgentTask:
    given = {"status": "COMPLETED", "stop_reason": "final_report", "report": "Done."}
    return ended(account, **{**given, **fields})


ENDED: list[dict[str, Any]] = [
    {"status": "COMPLETED", "stop_reason": "final_report", "report": "Done."},
    {"status": "INCOMPLETE", "stop_reason": "max_tokens", "report": "Some."},
    {"status": "FAILED", "stop_reason": "error", "report": None, "error": "No credit."},
]


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("fields", ENDED)
def test_whatever_has_ended_goes_on_in_its_session(
    backend: Caller, acme: Account, fields: dict[str, Any], slash: str
) -> None:
    task = ended(acme, **fields, steps_completed=1)
    add_step(task, index=1)

    answer = go_on(backend, task, message="Now the names.", slash=slash)

    shown = answer.json()
    assert (answer.status_code, set(shown)) == (202, KEYS)
    assert (shown["status"], shown["session_id"]) == ("PENDING", str(task.session_id))
    for key in ("report", "result", "error", "stop_reason", "completed_at", "started_at"):
        assert shown[key] is None, key
    task.refresh_from_db()
    assert (task.run_number, task.prompt) == (2, "Count.")
    assert task.opening_notes[0].startswith("The last run of this task ended because ")
    assert task.opening_notes[1:] == ["Now the names."]
    event = Event.objects.get()
    assert (event.kind, event.data) == ("continued", {"status": "PENDING", "run_number": 2})
    assert OrmQ.objects.count() == 1


def test_what_the_last_run_never_said_is_not_lost(backend: Caller, acme: Account) -> None:
    task = completed(acme)
    StepFactory.create(task=task, index=1)
    go_on(backend, task, message="First.")
    backend.post("", path=f"{SUBMIT}/{task.id}/cancel")

    assert go_on(backend, task, message="Second.").status_code == 202

    task.refresh_from_db()
    assert task.opening_notes[1] == "First."
    assert task.opening_notes[3:] == ["Second."]


def test_limits_that_are_named_hold_and_the_others_stay(backend: Caller, acme: Account) -> None:
    task = completed(acme, limits={**LIMITS, "max_tokens": 500})
    acme.project.limits = {"max_tool_calls": 30}
    acme.project.save()

    shown = go_on(backend, task, message="More.", limits={"max_steps": 80}).json()

    assert shown["limits"] == {
        "max_steps": 80,
        "max_tool_calls": 30,
        "max_tokens": 500,
        "max_cost_usd": None,
        "timeout_seconds": 3600.0,
    }
    task = ended(acme, status="FAILED", stop_reason="error", error="No credit.")
    body = json.dumps({"limits": {"max_cost_usd": 2}})
    shown = backend.post(body, path=f"{SUBMIT}/{task.id}/retry").json()
    assert (shown["limits"]["max_cost_usd"], shown["limits"]["max_steps"]) == (2.0, 50)


@pytest.mark.parametrize(
    ("operation", "code"), [("continue", "not_continuable"), ("rerun", "not_rerunnable")]
)
@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_what_has_not_ended_is_left_alone(
    backend: Caller, acme: Account, operation: str, code: str, status: str
) -> None:
    task = make_task(acme) if status == "PENDING" else running(acme)
    before = AgentTask.objects.values().get()

    body = json.dumps({"message": "More."} if operation == "continue" else {})
    answer = backend.post(body, path=f"{SUBMIT}/{task.id}/{operation}")

    assert (answer.status_code, answer.json()["code"]) == (409, code)
    assert answer.json()["detail"].endswith(f", not {status}.")
    assert AgentTask.objects.values().get() == before
    assert not Event.objects.exists()
    assert not OrmQ.objects.exists()


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({}, "message", "required"),
        ({"message": None}, "message", "invalid_type"),
        ({"message": ""}, "message", "blank"),
        ({"message": " \n"}, "message", "blank"),
        ({"message": "x" * 100_001}, "message", "too_long"),
        ({"message": "x", "limits": {"max_steps": 0}}, "limits.max_steps", "out_of_range"),
        ({"message": "x", "prompt": "y"}, "prompt", "unknown_field"),
    ],
)
def test_a_wrong_body_is_refused(
    backend: Caller, acme: Account, body: dict[str, Any], field: str, code: str
) -> None:
    task = completed(acme)

    answer = go_on(backend, task, **body)

    (problem,) = answer.json()["errors"]
    assert (answer.status_code, problem["field"], problem["code"]) == (400, field, code)
    task.refresh_from_db()
    assert (task.status, task.run_number) == ("COMPLETED", 1)


@pytest.mark.parametrize("operation", ["continue", "rerun"])
def test_another_tenant_s_task_is_not_found(
    stranger: Caller, acme: Account, operation: str
) -> None:
    task = completed(acme)

    body = json.dumps({"message": "More."} if operation == "continue" else {})
    answer = stranger.post(body, path=f"{SUBMIT}/{task.id}/{operation}")

    assert (answer.status_code, answer.json()["code"]) == (404, "task_not_found")
    assert AgentTask.objects.get().status == "COMPLETED"


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_rerun_is_a_new_task_of_the_same_submission(
    backend: Caller, acme: Account, slash: str
) -> None:
    SkillFactory.create(project=acme.project, slug="count", revision__name="Count")
    submitted = backend.submit(
        skill_ref="Count", model="anthropic/claude-opus-4.8", limits={"max_steps": 9}
    ).json()
    backend.post("", path=f"{SUBMIT}/{submitted['task_id']}/cancel")
    old = AgentTask.objects.get()
    before = AgentTask.objects.values().get()

    answer = rerun(backend, old, slash=slash)

    shown = answer.json()
    assert answer.status_code == 202
    assert answer["Location"] == f"/api/v1/agent-task/{shown['task_id']}"
    assert {**shown, "task_id": None} == {**submitted, "task_id": None}
    new = AgentTask.objects.get(pk=shown["task_id"])
    for name in ("prompt", "model", "end_user_id", "navigator_id", "limits", "required_skill"):
        assert getattr(new, name) == getattr(old, name), name
    assert (new.status, new.session_id != old.session_id) == ("PENDING", True)
    assert backend.poll(new.id).json()["rerun_of"] == str(old.id)
    assert backend.poll(old.id).json()["rerun_of"] is None
    assert AgentTask.objects.values().get(pk=old.pk) == before


def test_a_rerun_whose_skill_is_gone_makes_no_task(backend: Caller, acme: Account) -> None:
    skill = {"id": str(acme.project.id), "name": "Gone", "slug": "gone", "source": "project"}
    task = completed(acme, required_skill=skill)

    answer = rerun(backend, task)

    assert (answer.status_code, answer.json()["code"]) == (404, "skill_not_found")
    assert AgentTask.objects.count() == 1
    assert not Skill.objects.exists()


def test_a_rerun_takes_no_fields(backend: Caller, acme: Account) -> None:
    answer = rerun(backend, completed(acme), '{"prompt": "Another."}')

    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_field")
    assert AgentTask.objects.count() == 1
