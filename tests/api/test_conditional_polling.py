"""Polling without asking for what is known: ETag, 304 and Retry-After."""

from __future__ import annotations

import pytest

from tasks_app.models import AgentTask
from tests.api.test_poll import later, make_task
from tests.support.accounts import Account, Caller


def test_what_was_seen_is_not_sent_again(backend: Caller, acme: Account) -> None:
    task = make_task(acme)
    first = backend.poll(task.id)
    again = backend.poll(task.id, **{"If-None-Match": first["ETag"]})

    assert first["ETag"].startswith('"')
    assert (again.status_code, again.content) == (304, b"")
    assert (again["ETag"], again["Retry-After"]) == (first["ETag"], "2")


def test_a_change_is_sent_under_another_tag(backend: Caller, acme: Account) -> None:
    task = make_task(acme)
    tag = backend.poll(task.id)["ETag"]
    AgentTask.objects.filter(pk=task.pk).update(steps_completed=1)
    answer = backend.poll(task.id, **{"If-None-Match": tag})

    assert answer.status_code == 200
    assert answer["ETag"] != tag
    assert answer.json()["progress"]["steps_completed"] == 1


def test_a_task_that_has_ended_names_no_time_to_ask_again(backend: Caller, acme: Account) -> None:
    task = make_task(
        acme,
        status="COMPLETED",
        stop_reason="final_report",
        report="Done.",
        completed_at=later(9),
    )

    assert backend.poll(make_task(acme).id)["Retry-After"] == "2"
    assert "Retry-After" not in backend.poll(task.id)


@pytest.mark.parametrize("form", ["W/{}", '"else", {}', "*"])
def test_every_form_of_the_header_is_understood(backend: Caller, acme: Account, form: str) -> None:
    task = make_task(acme)
    tag = backend.poll(task.id)["ETag"]

    assert backend.poll(task.id, **{"If-None-Match": form.format(tag)}).status_code == 304


@pytest.mark.parametrize("header", ["", "unquoted", '"else"', '"', "W/"])
def test_what_matches_nothing_changes_nothing(backend: Caller, acme: Account, header: str) -> None:
    assert backend.poll(make_task(acme).id, **{"If-None-Match": header}).status_code == 200


def test_another_tenant_s_tag_opens_nothing(backend: Caller, acme: Account, rival: Account) -> None:
    task = make_task(rival)

    assert backend.poll(task.id, **{"If-None-Match": "*"}).status_code == 404
