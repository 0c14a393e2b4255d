"""A webhook that comes with a task: checked when it is saved, and kept with the task."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tasks_app.models import AgentTask
from tests.api.conftest import Caller

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
