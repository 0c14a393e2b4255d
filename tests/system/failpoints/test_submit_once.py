"""Whoever takes a submission dies at a commit; the client sends it again, and there is one task."""

from __future__ import annotations

import itertools
import json
import threading
from contextlib import suppress
from typing import Any

import httpx
import pytest
from django.db import connection
from django.test import Client
from django_q.models import OrmQ

from tasks_app.models import AgentTask, IdempotencyKey
from tests.support.accounts import SUBMIT, Account, make_account
from tests.support.cluster import database_url
from tests.support.web_process import PATIENCE, Web, running_web
from tests.system.failpoints.switch import Failpoints, Moment

pytestmark = pytest.mark.django_db(transaction=True)

DIED = 66
SENDERS = 20


class Died(BaseException):
    """The end of the process: no `except Exception` on the way sees it."""


def die() -> None:
    """Cut the connection, as the system cuts that of a dead process, and say no more."""
    if connection.vendor == "sqlite":  # where a cursor that is still open would keep the lock
        connection.connection.rollback()
    connection.connection.close()
    raise Died


def send(account: Account, key: str) -> Any:
    body = json.dumps(account.body(metadata={"order": "17"}))
    headers = {**account.bearer, "Idempotency-Key": key}
    return Client().post(SUBMIT, body, content_type="application/json", headers=headers)


def send_and_die(account: Account, key: str, failpoints: Failpoints) -> bool:
    """Send with a failpoint at each statement and at the commit; tell whether it died there.

    On a thread of its own, so with a connection of its own.
    """

    def guarded(execute: Any, *args: Any) -> Any:
        return failpoints.at(str(args[0]), execute)(*args)

    def run() -> None:
        with pytest.MonkeyPatch.context() as patch, connection.execute_wrapper(guarded):
            patch.setattr(connection, "commit", failpoints.at("COMMIT", connection.commit))
            with suppress(Died):
                send(account, key)
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return failpoints.reached


@pytest.mark.parametrize("moment", Moment)
def test_a_death_at_any_statement_leaves_all_or_nothing_and_one_task_when_sent_again(
    moment: Moment,
) -> None:
    account = make_account("acme")
    remembered = []
    for number in itertools.count():
        failpoints = Failpoints(number=number, moment=moment, die=die)
        if not send_and_die(account, str(number), failpoints):
            break
        died_at = failpoints.passed[number]
        there = AgentTask.objects.count() - number
        counts = (IdempotencyKey.objects.count(), OrmQ.objects.count())
        assert counts == (number + there, number + there), died_at

        again = send(account, str(number))

        assert again.status_code == 202, died_at
        assert ("Idempotent-Replayed" in again) is bool(there), died_at
        assert AgentTask.objects.count() == OrmQ.objects.count() == number + 1, died_at
        if there:
            remembered.append(died_at)
    assert number > 8, failpoints.passed
    assert remembered == (["COMMIT"] if moment is Moment.AFTER else [])


def send_all_at_once(web: Web, account: Account) -> list[httpx.Response | None]:
    """Send one submission from everybody at once; None is an answer that never came."""
    answers: list[httpx.Response | None] = []
    together = threading.Barrier(SENDERS)

    def run() -> None:
        headers = {**account.bearer, "Idempotency-Key": "one"}
        together.wait(PATIENCE)
        try:
            answers.append(
                httpx.post(
                    web.address + SUBMIT, json=account.body(), headers=headers, timeout=PATIENCE
                )
            )
        except httpx.TransportError:
            answers.append(None)

    threads = [threading.Thread(target=run) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.postgresql
def test_twenty_at_once_to_processes_that_die_make_one_task_that_the_next_one_knows() -> None:
    account = make_account("acme")
    for moment in Moment:
        dying = {
            "DJANGO_SETTINGS_MODULE": "tests.system.failpoints.web_settings",
            "FAILPOINT": moment,
        }
        with running_web(database=database_url(), **dying) as web:
            assert None in send_all_at_once(web, account)
            assert web.process.wait(PATIENCE) == DIED
        assert AgentTask.objects.count() == (moment is Moment.AFTER)

    with running_web(database=database_url()) as web:
        answers = [each for each in send_all_at_once(web, account) if each is not None]
    assert [each.status_code for each in answers] == [202] * SENDERS
    assert {each.headers["Idempotent-Replayed"] for each in answers} == {"true"}
    assert {each.json()["task_id"] for each in answers} == {str(AgentTask.objects.get().pk)}
    assert OrmQ.objects.count() == IdempotencyKey.objects.count() == 1
