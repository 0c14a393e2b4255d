"""Payloads: hidden from whom may not see them, opened by a POST that stands in the trail."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from caylex_project.accounts.models import AuditEntry
from caylex_project.db.clock import clock
from tasks_app.admin.tasks import payloads
from tasks_app.models import AgentTask, Event, Step, ToolCall, WebhookDelivery
from tests.admin.test_bulk_actions import FAILED, LIST, change_page, rows, staff, trail
from tests.api.test_poll import CREATED, add_call, add_step, ended, make_task
from tests.support.accounts import Account

MARK = "planted-payload"
# What a model, a tool, the user or the world said; the last two as far as faults quote it.
FIELDS: dict[Any, dict[str, Any]] = {
    AgentTask: {"prompt": MARK, "opening_notes": [MARK]},
    Step: {"request": {"system": MARK}, "response": {"role": "assistant", "content": MARK}},
    ToolCall: {"arguments": json.dumps({"a": MARK}), "result": MARK},
    Event: {"data": {"reason": MARK}},
    WebhookDelivery: {"data": {"report": MARK}},
}


def planted(account: Account) -> list[AgentTask]:
    """Return tasks, one in each state that quotes something, with the mark in every payload."""
    tasks = [
        ended(account, **{**FAILED, "error": MARK}, steps_completed=1, report=MARK),
        ended(account, status="INCOMPLETE", stop_reason="max_steps", report=MARK),
        make_task(account, attempt=2, waiting_reason=MARK),
    ]
    for task in tasks:
        add_call(add_step(task, index=1), index=0, tool="search", state="failed")
        Event.objects.create(task=task, sequence=9, kind="waiting", at=CREATED)
        WebhookDelivery.objects.create(
            task=task,
            url="https://example.com/",
            event="agent_task.failed",
            data={},
            state="failed",
            next_attempt_at=CREATED,
            created_at=CREATED,
        )
    for model, fields in FIELDS.items():
        model.objects.update(**fields)
    return tasks


def pages_of(task: AgentTask) -> list[str]:
    """Return every page, fragment and download that tells of a task."""
    step = task.steps.get()
    call, event = step.tool_calls.get(), task.events.get()
    return [
        *(change_page(task), f"{change_page(task)}?errors=1", f"{LIST}{task.pk}/live/"),
        f"{LIST}{task.pk}/download/",
        f"/admin/tasks_app/step/{step.pk}/change/",
        f"/admin/tasks_app/toolcall/{call.pk}/change/",
        f"/admin/tasks_app/event/{event.pk}/change/",
        *(f"{LIST}payload/{part}/{step.pk}/" for part in ("request", "response", "words")),
        *(f"{LIST}payload/{part}/{call.pk}/" for part in ("arguments", "result")),
        f"{LIST}payload/prompt/{task.pk}/",
    ]


LISTS = [
    *(LIST, f"{LIST}?q=planted", f"{LIST}?status=FAILED"),
    *(f"/admin/tasks_app/{model}/" for model in ("step", "toolcall", "event")),
]


def test_who_may_not_see_payloads_finds_the_mark_nowhere(acme: Account) -> None:
    tasks = planted(acme)
    viewer = staff("vera", "view_agenttask", "view_step", "view_toolcall", "view_event")
    by_group = User.objects.create_user("vic", is_staff=True)
    by_group.groups.add(Group.objects.get(name="support viewer"))
    grouped = Client()
    grouped.force_login(by_group)

    for client in (viewer, grouped):
        for path in (*LISTS, *(each for task in tasks for each in pages_of(task))):
            answer = client.get(path, secure=True)
            assert answer.status_code in (200, 403), path
            assert MARK not in answer.content.decode(), path
    sentence = viewer.get(change_page(tasks[0]), secure=True).content.decode()
    assert "Failed: what was answered is for those who may see payloads." in sentence
    assert viewer.post(f"{LIST}{tasks[0].pk}/payloads/", secure=True).status_code == 403
    assert trail() == []


def test_payloads_are_opened_once_an_hour_with_an_entry_and_no_get_writes_one(
    acme: Account,
) -> None:
    task, other, _ = planted(acme)
    reader = staff("rita", *("view_agenttask", "view_payload", "view_step", "view_toolcall"))
    AgentTask.objects.filter(status="FAILED").update(error="No credit.")
    before = rows()
    closed = pages_of(task)

    for path in closed:
        answer = reader.get(path, secure=True)
        assert answer.status_code in (200, 302, 403), path
        assert MARK not in answer.content.decode(), path
    assert "No credit." in reader.get(change_page(task), secure=True).content.decode()
    assert reader.get(f"{LIST}{task.pk}/payloads/", secure=True).status_code == 403
    assert trail() == []
    said = reader.post(f"{LIST}{task.pk}/payloads/", {"reason": "Jane called"}, secure=True)
    again = reader.post(f"{LIST}{task.pk}/payloads/", secure=True)

    assert said["Location"] == again["Location"] == change_page(task)
    assert trail() == [("rita", payloads.LOOK, str(task.pk), "Jane called")]
    for path in closed:
        if "/event/" not in path:
            assert MARK in reader.get(path, secure=True).content.decode(), path
    assert MARK not in reader.get(pages_of(other)[3], secure=True).content.decode()
    assert len(trail()) == 1
    assert rows() == before


def test_what_was_opened_closes_after_an_hour_and_is_open_to_nobody_else(
    acme: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, *_ = planted(acme)
    rita, rolf = (staff(each, "view_agenttask", "view_payload") for each in ("rita", "rolf"))
    address = f"{LIST}{task.pk}/payloads/"
    odd = rita.post(address, {"reason": "a\u2028b"}, secure=True)
    assert (odd.status_code, trail()) == (302, [])
    rita.post(address, secure=True)
    prompt = f"{LIST}payload/prompt/{task.pk}/"

    assert rolf.get(prompt, secure=True)["Location"] == change_page(task)
    assert rita.get(prompt, secure=True).content.decode() == MARK
    later = timezone.now() + datetime.timedelta(minutes=61)
    monkeypatch.setattr(clock, "now", lambda: later)
    rita.force_login(User.objects.get(username="rita"))
    assert rita.get(prompt, secure=True)["Location"] == change_page(task)
    rita.post(address, secure=True)

    assert AuditEntry.objects.count() == 2
