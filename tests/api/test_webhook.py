"""A webhook that comes with a task: checked when it is saved, and kept with the task."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from django.db import connection

from agent_runtime.net import address_guard
from tasks_app.models import AgentTask
from tests.support.accounts import SUBMIT, Caller

pytestmark = pytest.mark.django_db
URL = "http://127.0.0.1:8903/hook"  # loopback is permitted in tests


def test_the_webhook_is_kept_with_the_task(backend: Caller) -> None:
    webhook = {"url": URL, "events": ["agent_task.failed", "agent_task.failed"]}
    answer = backend.submit(webhook=webhook)
    assert answer.status_code == 202
    assert answer.json()["webhook_warning"] is None
    assert AgentTask.objects.get().webhook == {"url": URL, "events": ["agent_task.failed"]}


@pytest.mark.parametrize("webhook", [{"url": URL}, {"url": URL, "events": None}])
def test_without_events_it_is_told_of_all(webhook: dict[str, Any], backend: Caller) -> None:
    assert backend.submit(webhook=webhook).status_code == 202
    assert AgentTask.objects.get().webhook == {"url": URL, "events": []}


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::a00:1]/",
        "http://jane:secret@example.com/",
        "http://127.0.0.1:22/",
        "http://127.0.0.1:6379/",
        "http://127.0.0.1:81/",
        "ftp://127.0.0.1/",
        "http://127.0.0.1/#part",
        "http://127.0.0.1/büro",
        "http://bücher.example/",
        "not an address",
    ],
)
def test_a_bad_address_is_400_and_makes_no_task(url: str, backend: Caller) -> None:
    answer = backend.submit(webhook={"url": url})
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_webhook_url"
    assert [each["field"] for each in answer.json()["errors"]] == ["webhook.url"]
    assert not AgentTask.objects.exists()


@pytest.mark.parametrize(
    ("webhook", "field", "code"),
    [
        ("http://127.0.0.1/", "webhook", "invalid_type"),
        ({}, "webhook.url", "required"),
        ({"url": 7}, "webhook.url", "invalid_type"),
        ({"url": "http://127.0.0.1/" + "x" * 2000}, "webhook.url", "too_long"),
        ({"url": URL, "events": "agent_task.failed"}, "webhook.events", "invalid_type"),
        ({"url": URL, "events": ["task.failed"]}, "webhook.events.0", "invalid_choice"),
        ({"url": URL, "events": ["x"] * 9}, "webhook.events.0", "invalid_choice"),
        ({"url": URL, "events": ["agent_task.failed"] * 11}, "webhook.events", "too_long"),
        ({"url": URL, "secret": "x"}, "webhook.secret", "unknown_field"),
    ],
)
def test_what_is_no_webhook_is_told_by_field(
    webhook: Any, field: str, code: str, backend: Caller
) -> None:
    answer = backend.submit(webhook=webhook)
    assert answer.status_code == 400
    [error] = answer.json()["errors"]
    assert (error["field"], error["code"]) == (field, code)
    assert not AgentTask.objects.exists()


def test_a_name_that_does_not_resolve_is_taken_with_a_warning(
    backend: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    answer = backend.submit(webhook={"url": "https://not-yet.example/"})
    assert answer.status_code == 202
    assert answer.json()["webhook_warning"] == (
        "The name not-yet.example does not resolve; it is looked up again at each use."
    )


@pytest.mark.django_db(transaction=True)
def test_the_name_is_looked_up_while_no_transaction_is_open(
    backend: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[bool] = []

    def slow(host: str, port: int) -> list[str]:
        looked_up.append(connection.in_atomic_block)
        raise socket.gaierror

    monkeypatch.setattr(address_guard, "look_up", slow)
    webhook = {"url": "https://not-yet.example/"}
    key = {"Idempotency-Key": "one"}
    assert backend.submit(webhook=webhook).status_code == 202
    body = json.dumps(backend.account.body(webhook=webhook))
    assert backend.post(body, headers=key).status_code == 202
    task = AgentTask.objects.earliest("created_at")
    backend.post("", path=f"{SUBMIT}/{task.pk}/cancel")
    rerun = backend.post("", path=f"{SUBMIT}/{task.pk}/rerun")
    assert rerun.status_code == 202
    assert "not-yet.example" in rerun.json()["webhook_warning"]
    assert looked_up == [False] * 3


def test_a_replay_looks_nothing_up_and_a_rerun_is_refused_as_a_submit_is(
    backend: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(address: str) -> None:
        answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)

    resolve("127.0.0.1")
    key = {"Idempotency-Key": "one"}
    webhook = {"url": "https://example.com/"}
    body = json.dumps(backend.account.body(webhook=webhook))
    first = backend.post(body, headers=key)
    resolve("10.0.0.1")
    again = backend.post(body, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()

    path = f"{SUBMIT}/{first.json()['task_id']}"
    backend.post("", path=f"{path}/cancel")
    refusals = [backend.submit(webhook=webhook), backend.post("", path=f"{path}/rerun")]
    assert [each.status_code for each in refusals] == [400, 400]
    assert {each.json()["code"] for each in refusals} == {"invalid_webhook_url"}
    assert refusals[0].json()["errors"] == refusals[1].json()["errors"]
    assert AgentTask.objects.count() == 1
