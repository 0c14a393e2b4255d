"""The web process on real PostgreSQL: bad headers, chunked bodies, and many polls at once."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator

import httpx
import pytest
from django.conf import settings
from django.db import connection
from django_q.models import OrmQ

from caylex_project.accounts.models import EndUser
from tasks_app.models import AgentTask
from tests.support.accounts import SUBMIT, Account, make_account
from tests.support.cluster import database_url
from tests.support.web_process import Web, running_web
from tests.web.test_request_limits import HEAD, JSON, parsed

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def web(transactional_db: None) -> Iterator[Web]:
    """A web process on the test's own database."""
    with running_web(database=database_url()) as running:
        yield running


@pytest.fixture
def account(transactional_db: None) -> Account:
    """An account that other processes can see."""
    return make_account("acme")


def test_bad_tokens_over_the_wire_are_401_with_one_body(web: Web, account: Account) -> None:
    bodies = []
    for header in (
        b"",
        b"Authorization: Bearer \xff\xfe\r\n",
        b"Authorization: \xff\r\n",
        b"Authorization: Bearer " + account.token[:-1].encode() + b"\r\n",
        b"Authorization: Bearer " + b"x" * 15_000 + b"\r\n",
        b"Authorization: Bearer " + account.token.encode() + b"\r\nAuthorization: Bearer x\r\n",
    ):
        status, headers, body = parsed(web.ask(HEAD + header + b"Connection: close\r\n\r\n"))
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        del body["request_id"]
        bodies.append(body)

    assert all(body == bodies[0] for body in bodies)
    assert not AgentTask.objects.exists()


def test_a_chunked_submission_is_read_like_any_other(web: Web, account: Account) -> None:
    body = json.dumps(account.body()).encode()
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in (body[:half], body[half:]))
    bearer = b"Authorization: Bearer " + account.token.encode() + b"\r\n"

    answer = web.ask(
        HEAD
        + JSON
        + bearer
        + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        + chunks
        + b"0\r\n\r\n"
    )

    status, headers, read = parsed(answer)
    assert status == 202
    assert headers["location"] == f"{SUBMIT}/{read['task_id']}"
    assert str(AgentTask.objects.get().id) == read["task_id"]


def test_an_answer_means_that_the_task_is_committed(web: Web, account: Account) -> None:
    with httpx.Client(base_url=web.address, headers=account.bearer, trust_env=False) as client:
        for _ in range(20):
            task_id = client.post(SUBMIT, json=account.body()).json()["task_id"]
            assert AgentTask.objects.filter(id=task_id, status="PENDING").exists()


def test_submissions_in_parallel_make_one_end_user_and_a_task_each(
    web: Web, account: Account
) -> None:
    async def submit_all() -> list[int]:
        async with httpx.AsyncClient(
            base_url=web.address, headers=account.bearer, trust_env=False
        ) as client:
            answers = await asyncio.gather(
                *(client.post(SUBMIT, json=account.body()) for _ in range(20))
            )
            return [answer.status_code for answer in answers]

    assert asyncio.run(submit_all()) == [202] * 20
    assert EndUser.objects.count() == 1
    assert AgentTask.objects.count() == 20
    assert OrmQ.objects.count() == 20


def test_two_thousand_polls_on_fifty_connections_leak_no_database_connection(
    web: Web, account: Account
) -> None:
    submitted = httpx.post(
        f"{web.address}{SUBMIT}", headers=account.bearer, json=account.body(), trust_env=False
    )
    request = (
        f"GET {SUBMIT}/{submitted.json()['task_id']} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {account.token}\r\n\r\n"
    ).encode()
    before = open_connections()

    statuses = asyncio.run(poll_all(web.port, request))

    assert statuses == [b"200"] * 2000
    assert open_connections() - before <= settings.WEB_THREADS + 1  # one listens


async def poll_all(port: int, request: bytes) -> list[bytes]:
    """Send the request forty times on each of fifty connections, and return the statuses."""

    async def forty_times() -> list[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        statuses = []
        for _ in range(40):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
            assert length, head
            await reader.readexactly(int(length[1]))
            statuses.append(head.split()[1])
        writer.close()
        await writer.wait_closed()
        return statuses

    answers = await asyncio.gather(*(forty_times() for _ in range(50)))
    return [status for each in answers for status in each]


def open_connections() -> int:
    """Return how many sessions the test's database has."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        (count,) = cursor.fetchone()
    return int(count)
