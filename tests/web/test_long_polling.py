"""A poll that waits for news, on the running web process and both databases."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.utils import timezone

from caylex_project.accounts.models import Project
from tasks_app.models import AgentTask
from tasks_app.operations.cancel import cancel
from tasks_app.operations.runs import retry
from tests.api.test_poll import make_task
from tests.support.accounts import SUBMIT, Account, make_account
from tests.support.cluster import database_url, eventually
from tests.support.journal_rows import ENDING, a_step, claim, commit, lived
from tests.support.web_process import PATIENCE, Web, running_web
from tests.web.test_web_process import open_connections

pytestmark = pytest.mark.django_db(transaction=True)

Ask = Callable[..., "Future[httpx.Response]"]


@pytest.fixture(scope="module")
def web(django_db_setup: None) -> Iterator[Web]:
    """A web process on the tests' database."""
    with running_web(database=database_url()) as running:
        yield running


@pytest.fixture
def account(transactional_db: None) -> Account:
    """An account that other processes can see."""
    return make_account("acme")


@pytest.fixture
def ask(web: Web, account: Account) -> Iterator[Ask]:
    """Ask on a thread, with Acme's token unless there is another."""
    with ThreadPoolExecutor(20) as threads:

        def asking(path: str, **headers: str) -> Future[httpx.Response]:
            sent = {**account.bearer, **headers}
            url = f"{web.address}{SUBMIT}/{path}"
            return threads.submit(httpx.get, url, headers=sent, trust_env=False, timeout=PATIENCE)

        yield asking


def first_asks(web: Web, task: AgentTask) -> int:
    """Return how often Django was asked about the task."""
    return sum(str(task.id) in line for line in list(web.lines))


def held(web: Web, task: AgentTask, answer: Future[httpx.Response], *, asks: int = 1) -> None:
    """Wait until the request waits: Django has answered it, and the caller has no answer."""
    eventually(lambda: first_asks(web, task) >= asks, what="Django was never asked")
    assert not answer.done()


def body(answer: Future[httpx.Response], status: int = 200) -> dict[str, Any]:
    got = answer.result(PATIENCE)
    assert got.status_code == status, got.text
    assert "x-task-version" not in got.headers
    read: dict[str, Any] = got.json()
    return read


def test_a_cancel_ends_the_wait(web: Web, account: Account, ask: Ask) -> None:
    task = make_task(account)
    answer = ask(f"{task.id}?wait=60")
    held(web, task, answer)

    cancel(task_id=task.id, tenant_id=None, reason="", now=timezone.now())

    assert body(answer)["stop_reason"] == "cancelled"


def test_progress_that_nobody_told_of_is_found(web: Web, account: Account, ask: Ask) -> None:
    task = make_task(account)
    claim(task)
    answer = ask(f"{task.id}/?wait=60")
    held(web, task, answer)

    commit(task, step=a_step(1))

    assert body(answer)["progress"]["steps_completed"] == 1


def test_a_pause_and_its_end_are_news_of_what_waits(web: Web, account: Account, ask: Ask) -> None:
    task = make_task(account)
    for paused, said in ((True, "Its project is paused."), (False, "Waiting for a worker.")):
        asked = first_asks(web, task)
        answer = ask(f"{task.id}?wait=60")
        held(web, task, answer, asks=asked + 1)

        Project.objects.update(paused=paused)

        assert body(answer)["progress"]["current"] == said


def test_a_request_to_stop_is_news_before_it_has_an_effect(
    web: Web, account: Account, ask: Ask
) -> None:
    task = make_task(account)
    claim(task)
    answer = ask(f"{task.id}?wait=60")
    held(web, task, answer)

    cancel(task_id=task.id, tenant_id=None, reason="", now=timezone.now())

    shown = body(answer)
    assert (shown["status"], shown["progress"]["current"]) == ("RUNNING", "Stopping, as asked.")


def test_what_the_caller_knows_is_waited_for_and_what_it_does_not_is_told_at_once(
    web: Web, account: Account, ask: Ask
) -> None:
    task = make_task(account)
    etag = ask(f"{task.id}").result(PATIENCE).headers["ETag"]
    answer = ask(f"{task.id}?wait=60", **{"If-None-Match": etag})
    held(web, task, answer, asks=2)
    claim(task)

    assert body(answer)["status"] == "RUNNING"
    assert body(ask(f"{task.id}?wait=60", **{"If-None-Match": etag}))["status"] == "RUNNING"


def test_a_known_poll_is_answered_before_django_until_there_is_news(
    web: Web, account: Account, ask: Ask
) -> None:
    task = make_task(account)
    etag = ask(f"{task.id}").result(PATIENCE).headers["ETag"]

    def known() -> int:
        return ask(f"{task.id}", **{"If-None-Match": etag}).result(PATIENCE).status_code

    def early() -> bool:
        return any(str(task.id) in each and "milliseconds" not in each for each in list(web.lines))

    eventually(lambda: known() == 304 and early(), what="Django answered each of them")
    url = f"{web.address}{SUBMIT}/{task.id}/cancel"
    assert httpx.post(url, headers=account.bearer, json={}, trust_env=False).status_code == 202
    assert known() == 200


def test_a_known_poll_does_not_miss_what_another_process_does(account: Account, ask: Ask) -> None:
    task = make_task(account)
    etag = ask(f"{task.id}").result(PATIENCE).headers["ETag"]
    known = {"If-None-Match": etag}
    assert [ask(f"{task.id}", **known).result(PATIENCE).status_code for _ in range(9)] == [304] * 9
    claim(task)

    eventually(
        lambda: ask(f"{task.id}", **known).result(PATIENCE).status_code == 200,
        what="the claim was never seen",
    )


def test_when_the_time_is_up_the_answer_is_what_it_was(account: Account, ask: Ask) -> None:
    task = make_task(account)
    answer = ask(f"{task.id}?wait=1").result(PATIENCE)
    again = ask(f"{task.id}?wait=1", **{"If-None-Match": answer.headers["ETag"]})

    assert (answer.status_code, answer.json()["status"]) == (200, "PENDING")
    unchanged = again.result(PATIENCE)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["ETag"] == answer.headers["ETag"]


def test_a_task_that_has_ended_is_told_at_once_and_known_ones_are_304(
    account: Account, ask: Ask
) -> None:
    task = lived(account)
    answer = ask(f"{task.id}?wait=60").result(PATIENCE)
    known = ask(f"{task.id}?wait=60", **{"If-None-Match": answer.headers["ETag"]})

    assert answer.json()["report"] == "Counted 61."
    assert known.result(PATIENCE).status_code == 304


@pytest.mark.parametrize("wait", ["61", "-1", "1.5", "", "x", "1e1", "%D9%A1", "00060"])
def test_a_wait_that_cannot_be_is_400_or_none(account: Account, ask: Ask, wait: str) -> None:
    task = lived(account)
    answer = ask(f"{task.id}?wait={wait}").result(PATIENCE)

    assert answer.status_code == (200 if wait == "00060" else 400)
    if answer.status_code == 400:
        assert answer.json()["errors"][0]["field"] == "wait"


def test_nobody_waits_for_what_is_not_theirs(web: Web, account: Account, ask: Ask) -> None:
    task = make_task(make_account("rival"))

    assert body(ask(f"{task.id}?wait=60"), 404)["code"] == "task_not_found"
    assert body(ask(f"{task.id}?wait=60", Authorization="Bearer x"), 401)["code"]


def test_a_token_revoked_while_its_bearer_waits_opens_nothing_any_more(
    web: Web, account: Account, ask: Ask
) -> None:
    task = make_task(account)
    answer = ask(f"{task.id}?wait=60")
    held(web, task, answer)
    account.token_row.revoked_at = timezone.now()
    account.token_row.save()
    claim(task)

    assert body(answer, 401)["code"] == "unauthenticated"


def test_the_answer_carries_the_id_of_its_own_request(web: Web, account: Account, ask: Ask) -> None:
    task = make_task(account)
    answers = [ask(f"{task.id}?wait=60", **{"X-Request-Id": f"mine-{n}"}) for n in range(8)]
    held(web, task, answers[0], asks=8)
    claim(task)

    for number, answer in enumerate(answers):
        assert body(answer)["status"] == "RUNNING"
        assert answer.result().headers["X-Request-Id"] == f"mine-{number}"


def test_each_of_a_task_s_changes_ends_one_wait_and_none_is_missed(
    web: Web, account: Account, ask: Ask
) -> None:
    task = make_task(account)
    etag = ask(f"{task.id}").result(PATIENCE).headers["ETag"]
    changes: list[tuple[Callable[[], None], str]] = [
        (lambda: claim(task), "RUNNING"),
        (lambda: commit(task, step=a_step(1), release=ENDING), "COMPLETED"),
    ]
    seen = []
    for change, _ in changes:
        change()  # before anybody waits: it must not be waited for again
        answer = ask(f"{task.id}?wait=60", **{"If-None-Match": etag})
        seen.append(body(answer)["status"])
        etag = answer.result().headers["ETag"]
    assert seen == [status for _, status in changes]

    AgentTask.objects.update(status="INCOMPLETE")  # so that it can be retried
    retry(task_id=task.id, tenant_id=None, now=timezone.now())
    assert body(ask(f"{task.id}?wait=60", **{"If-None-Match": etag}))["status"] == "PENDING"


@pytest.mark.postgresql
def test_two_hundred_who_wait_hold_no_thread_and_no_database_connection(
    web: Web, account: Account
) -> None:
    task = make_task(account)
    before = open_connections()
    asked = first_asks(web, task)
    request = (
        f"GET {SUBMIT}/{task.id}?wait=60 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Authorization: Bearer {account.token}\r\n\r\n"
    ).encode()
    waiting = [web.connect() for _ in range(200)]
    for each in waiting:
        each.sendall(request)
    eventually(lambda: first_asks(web, task) >= asked + 200, what="not all were asked for")

    status = Path(f"/proc/{web.process.pid}/status").read_text()
    (threads,) = re.findall(r"Threads:\s+(\d+)", status)
    assert int(threads) <= 20 + 10  # Django's, and those of the process and its pool
    assert open_connections() - before <= 20  # the pool's
    claim(task)
    for each in waiting:
        with each:
            assert each.recv(65536).startswith(b"HTTP/1.1 200")


def test_the_end_of_the_process_is_not_held_up_by_who_waits(account: Account) -> None:
    task = make_task(account)
    with running_web(database=database_url()) as own, ThreadPoolExecutor(1) as threads:
        url = f"{own.address}{SUBMIT}/{task.id}?wait=60"
        answer = threads.submit(
            httpx.get, url, headers=account.bearer, trust_env=False, timeout=PATIENCE
        )
        held(own, task, answer)
        own.process.terminate()

        assert answer.result(PATIENCE).json()["status"] == "PENDING"
        own.process.wait(PATIENCE)
    assert "Traceback" not in "\n".join(own.lines)
