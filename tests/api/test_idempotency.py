"""Submitting twice with one key: one task, one answer."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django_q.models import OrmQ

from caylex_project.accounts.keys import issue_navigator_key
from tasks_app.models import AgentTask, IdempotencyKey
from tests.api.conftest import SUBMIT, Account, make_account

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
        patch.setattr("tasks_app.operations.submit.knock", knock)
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
