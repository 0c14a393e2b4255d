"""Submitting twice with one key: one task, one answer."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ

from caylex_project.accounts.keys import issue_navigator_key
from tasks_app.models import AgentTask, IdempotencyKey
from tests.api.test_poll import ended, make_task
from tests.support.accounts import SUBMIT, Account, make_account

KEY = "order 17/weekly"


def send(account: Account, *, key: str | None = KEY, **fields: Any) -> Any:
    headers = account.bearer if key is None else {**account.bearer, "Idempotency-Key": key}
    return Client(raise_request_exception=False).post(
        SUBMIT, json.dumps(account.body(**fields)), content_type="application/json", headers=headers
    )


@pytest.mark.django_db
def test_the_same_again_is_answered_like_the_first_time(acme: Account) -> None:
    first, again = send(acme), send(acme)

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again["Location"] == first["Location"]
    assert "Idempotent-Replayed" not in first
    assert again["Idempotent-Replayed"] == "true"
    assert AgentTask.objects.count() == OrmQ.objects.count() == 1


@pytest.mark.django_db
def test_null_stands_for_absent_and_a_rotated_key_for_the_old_one(acme: Account) -> None:
    _, other = issue_navigator_key(navigator=acme.navigator)

    assert send(acme).json() == send(acme, model=None, caylex_api_key=other).json()
    assert AgentTask.objects.count() == 1


@pytest.mark.django_db
def test_another_body_is_refused(acme: Account) -> None:
    send(acme)
    answer = send(acme, prompt="Count something else.")

    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency_key_reused"
    assert AgentTask.objects.count() == 1


@pytest.mark.django_db
def test_each_tenant_has_keys_of_its_own(acme: Account) -> None:
    other = make_account("other")

    assert send(acme).json()["task_id"] != send(other).json()["task_id"]


@pytest.mark.django_db
def test_what_was_refused_is_not_remembered(acme: Account) -> None:
    assert send(acme, skill_ref="nowhere").status_code == 404
    assert send(acme, caylex_api_key="ck_no").status_code == 403
    assert not IdempotencyKey.objects.exists()
    assert send(acme).status_code == 202


@pytest.mark.django_db(transaction=True)
def test_what_failed_half_way_left_nothing(acme: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    def knock(**_: Any) -> None:
        raise RuntimeError("no doorbell")

    with monkeypatch.context() as patch:
        patch.setattr("tasks_app.operations.submit.send_wakeup", knock)
        assert send(acme).status_code == 500
    assert not IdempotencyKey.objects.exists()
    assert not AgentTask.objects.exists()
    assert "Idempotent-Replayed" not in send(acme)


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9", "tab\there"])
def test_a_key_that_is_none_is_refused(acme: Account, key: str) -> None:
    answer = send(acme, key=key)

    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_idempotency_key"
    assert not AgentTask.objects.exists()


@pytest.mark.django_db
def test_the_row_holds_no_secret(acme: Account) -> None:
    send(acme, key="k" * 255)
    row = str(IdempotencyKey.objects.values().get())

    assert acme.key.partition(".")[2] not in row
    assert acme.token not in row


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_make_one_task(acme: Account) -> None:
    answers: list[Any] = []
    together = threading.Barrier(20)

    def run() -> None:
        try:
            together.wait(30)
            answers.append(send(acme))
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [answer.status_code for answer in answers] == [202] * 20
    assert len({answer.json()["task_id"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer for answer in answers) == 1
    assert AgentTask.objects.count() == OrmQ.objects.count() == IdempotencyKey.objects.count() == 1


# --- Retry, continue, rerun and cancel -----------------------------------------------------------

FAILED = {"status": "FAILED", "stop_reason": "error", "error": "No credit."}
BODIES: dict[str, dict[str, Any]] = {
    "retry": {"limits": {"max_steps": 9}},
    "continue": {"message": "Send the mail."},
    "rerun": {},
    "cancel": {"reason": "Found them."},
}
OTHERS: dict[str, dict[str, Any]] = {
    "retry": {"limits": {"max_steps": 10}},
    "continue": {"message": "Send another mail."},
    "cancel": {"reason": "Lost them."},
}


def act(account: Account, task: AgentTask, verb: str, body: Any = None, *, key: str = KEY) -> Any:
    sent = BODIES[verb] if body is None else body
    return Client(raise_request_exception=False).post(
        f"{SUBMIT}/{task.pk}/{verb}",
        json.dumps(sent),
        content_type="application/json",
        headers={**account.bearer, "Idempotency-Key": key},
    )


def subject(account: Account, verb: str) -> AgentTask:
    """A task on which the verb has an effect."""
    return make_task(account) if verb == "cancel" else ended(account, **FAILED)


def effects(task: AgentTask) -> tuple[Any, ...]:
    """All that a verb may have done: runs, tasks, events, and a reason."""
    row = AgentTask.objects.get(pk=task.pk)
    return (
        row.run_number,
        row.status,
        row.cancel_reason,
        list(row.events.order_by("sequence").values_list("kind", flat=True)),
        AgentTask.objects.count(),
        OrmQ.objects.count(),
    )


@pytest.mark.django_db
@pytest.mark.parametrize("verb", BODIES)
def test_an_action_that_is_sent_again_is_answered_like_the_first_time(
    verb: str, acme: Account
) -> None:
    task = subject(acme, verb)
    before = effects(task)
    first = act(acme, task, verb)
    done = effects(task)
    again = act(acme, task, verb)

    assert before != done == effects(task)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.content == first.content
    assert "Idempotent-Replayed" not in first
    assert again["Idempotent-Replayed"] == "true"
    assert again.get("Location") == first.get("Location")


@pytest.mark.django_db
@pytest.mark.parametrize("verb", ["retry", "continue"])
def test_a_second_try_after_the_first_ones_run_has_ended_begins_no_further_run(
    verb: str, acme: Account
) -> None:
    task = subject(acme, verb)
    first = act(acme, task, verb)
    AgentTask.objects.filter(pk=task.pk).update(**FAILED, completed_at=timezone.now())

    again = act(acme, task, verb)

    assert again.json() == first.json()
    assert AgentTask.objects.get(pk=task.pk).run_number == task.run_number + 1
    other = act(acme, task, verb, key="another")
    assert other.status_code == 202
    assert AgentTask.objects.get(pk=task.pk).run_number == task.run_number + 2


@pytest.mark.django_db
def test_a_cancel_that_is_sent_again_does_not_stop_the_run_that_began_since(acme: Account) -> None:
    for task in (make_task(acme), ended(acme, **FAILED)):
        first = act(acme, task, "cancel")
        assert act(acme, task, "retry", key="retry").status_code == 202

        again = act(acme, task, "cancel")

        assert (again.status_code, again.json()) == (first.status_code, first.json())
        row = AgentTask.objects.get(pk=task.pk)
        assert (row.status, row.cancel_requested_at) == ("PENDING", None)


@pytest.mark.django_db
@pytest.mark.parametrize("verb", OTHERS)
def test_an_action_with_another_body_is_refused(verb: str, acme: Account) -> None:
    task = subject(acme, verb)
    act(acme, task, verb)
    done = effects(task)

    answer = act(acme, task, verb, OTHERS[verb])

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert effects(task) == done


@pytest.mark.django_db
def test_one_key_is_another_at_another_address_and_for_another_tenant(acme: Account) -> None:
    other = make_account("other")
    submitted = send(acme)
    first, second, theirs = (ended(each, **FAILED) for each in (acme, acme, other))

    answers = [act(acme, first, "retry"), act(acme, second, "retry"), act(other, theirs, "retry")]
    answers += [act(acme, first, "cancel"), act(acme, second, "cancel")]

    assert submitted.status_code == 202
    assert [answer.status_code for answer in answers] == [202] * 5
    assert not any("Idempotent-Replayed" in answer for answer in answers)
    assert act(acme, theirs, "retry").status_code == 404
    assert IdempotencyKey.objects.count() == 6


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("verb", "code"),
    [("retry", "not_retryable"), ("continue", "not_continuable"), ("rerun", "not_rerunnable")],
)
def test_an_action_that_was_refused_is_not_remembered(verb: str, code: str, acme: Account) -> None:
    task = make_task(acme)
    assert act(acme, task, verb).json()["code"] == code
    assert not IdempotencyKey.objects.exists()
    AgentTask.objects.filter(pk=task.pk).update(**FAILED, completed_at=timezone.now())
    assert act(acme, task, verb).status_code == 202


@pytest.mark.django_db
@pytest.mark.parametrize("verb", BODIES)
@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
def test_an_action_with_a_key_that_is_none_is_refused(verb: str, key: str, acme: Account) -> None:
    task = subject(acme, verb)
    before = effects(task)
    answer = act(acme, task, verb, key=key)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")
    assert effects(task) == before


@pytest.mark.django_db
def test_an_action_is_replayed_when_its_task_is_gone(acme: Account) -> None:
    task = subject(acme, "rerun")
    first = act(acme, task, "rerun")
    AgentTask.objects.all().delete()

    again = act(acme, task, "rerun")

    assert (again.status_code, again.json()) == (202, first.json())
    assert not AgentTask.objects.exists()


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("verb", BODIES)
def test_twenty_actions_at_once_are_one(verb: str, acme: Account) -> None:
    task = subject(acme, verb)
    answers: list[Any] = []
    together = threading.Barrier(20)

    def run() -> None:
        try:
            together.wait(30)
            answers.append(act(acme, task, verb))
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [answer.status_code for answer in answers] == [202] * 20
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer for answer in answers) == 1
    assert IdempotencyKey.objects.count() == 1
    assert AgentTask.objects.count() == (2 if verb == "rerun" else 1)
    runs = task.run_number + (verb in ("retry", "continue"))
    assert AgentTask.objects.get(pk=task.pk).run_number == runs
