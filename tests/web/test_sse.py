"""A task's events as a stream: each once, wherever it is cut, until the task has ended."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tasks_app.notifications.change_listener import ChangeListener
from tasks_app.queries.events import read_events
from tasks_app.queries.tasks import find_task
from tests.api.test_poll import CREATED, make_task
from tests.support.accounts import SUBMIT, Account, make_account
from tests.support.cluster import database_url
from tests.support.factories import AgentTaskFactory
from tests.support.journal_rows import ENDING, WHOLE, a_step, claim, commit, lived
from tests.support.web_process import PATIENCE, Web, running_web

pytestmark = pytest.mark.django_db(transaction=True)

STREAM = {"Accept": "text/event-stream"}


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
def client(web: Web, account: Account) -> Iterator[httpx.Client]:
    """Acme's backend."""
    with httpx.Client(
        base_url=f"{web.address}{SUBMIT}/",
        headers=account.bearer,
        timeout=PATIENCE,
        trust_env=False,
    ) as made:
        yield made


class Events:
    """Reads a stream, event by event."""

    def __init__(self, response: httpx.Response) -> None:
        assert response.status_code == 200, response.read()
        self.response = response
        self._lines = response.iter_lines()
        self.last = ""
        self.other: list[str] = []  # comments and retry hints

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Yield number and type, the type without what all share, until the stream ends."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if not line:
                if "data" in fields:
                    self.last = fields["id"]
                    yield _checked(fields)
                fields = {}
            elif line.startswith((":", "retry:")):
                self.other.append(line)
            else:
                name, _, value = line.partition(": ")
                fields[name] = value


def _checked(fields: dict[str, str]) -> tuple[int, str]:
    data: dict[str, Any] = json.loads(fields["data"])
    assert (str(data["id"]), data["type"]) == (fields["id"], fields["event"])
    return data["id"], data["type"].removeprefix("agent_task.")


def whole(client: httpx.Client, path: str, **headers: str) -> list[tuple[int, str]]:
    """Return all that a stream tells until it ends by itself."""
    with client.stream("GET", path, headers={**STREAM, **headers}) as response:
        return list(Events(response))


def test_a_finished_task_is_replayed_in_full_and_the_stream_ends(
    client: httpx.Client, account: Account
) -> None:
    task = lived(account)
    with client.stream("GET", f"{task.id}/events", headers=STREAM) as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store"
        assert "X-Request-Id" in response.headers
        assert "X-Task-Version" not in response.headers
        assert list(Events(response)) == WHOLE


def test_it_tells_what_the_pages_tell(client: httpx.Client, account: Account) -> None:
    task = lived(account)
    page = client.get(f"{task.id}/events").json()["events"]
    text = client.get(f"{task.id}/events/", headers=STREAM).text

    assert [json.loads(each) for each in re.findall(r"^data: (.*)$", text, re.M)] == page


def test_what_happens_is_told_as_it_happens(client: httpx.Client, account: Account) -> None:
    task = make_task(account)
    with client.stream("GET", f"{task.id}/events", headers=STREAM) as response:
        events = iter(Events(response))
        assert next(events) == (0, "created")
        claim(task)
        assert next(events) == (1, "started")
        commit(task, step=a_step(1))
        assert next(events) == (2, "step.completed")
        commit(task, step=a_step(2), release=ENDING)
        assert list(events) == [(3, "step.completed"), (4, "completed")]


@pytest.mark.parametrize("after", [0, 3, 9, 10, 99])
def test_it_goes_on_after_the_number_in_the_address_or_the_newer_one_in_the_header(
    client: httpx.Client, account: Account, after: int
) -> None:
    task = lived(account)
    rest = [each for each in WHOLE if each[0] > after]

    assert whole(client, f"{task.id}/events?starting_after={after}") == rest
    header = {"Last-Event-ID": str(after)}
    assert whole(client, f"{task.id}/events?starting_after=1", **header) == rest


def test_cut_fifty_times_anywhere_it_is_the_whole_sequence_once(web: Web, account: Account) -> None:
    task = make_task(account)
    claim(task)
    steps = 60
    for index in range(1, steps):
        commit(task, step=a_step(index))
    commit(task, step=a_step(steps), release=ENDING)
    chance = random.Random(20261124)
    text, last = b"", None
    for cut in range(51):
        resume = "" if last is None else f"Last-Event-ID: {last}\r\n"
        head = (
            f"GET {SUBMIT}/{task.id}/events HTTP/1.0\r\nHost: localhost\r\n{resume}"
            f"Authorization: Bearer {account.token}\r\nAccept: text/event-stream\r\n\r\n"
        )
        with web.connect() as connection:
            connection.sendall(head.encode())
            arrived = b""
            wanted = chance.randrange(300, 900) if cut < 50 else 10_000_000
            while len(arrived) < wanted and (part := connection.recv(wanted - len(arrived))):
                arrived += part
        lines = arrived.partition(b"\r\n\r\n")[2]
        complete = lines[: lines.rfind(b"\n\n") + 2] if b"\n\n" in lines else b""
        text += complete
        if ids := re.findall(rb"^id: (\d+)$", complete, re.M):
            last = int(ids[-1])

    told = [int(each) for each in re.findall(rb"^id: (\d+)$", text, re.M)]
    assert told == list(range(steps + 3))  # created, started, the steps, completed


def test_a_long_task_comes_in_many_pages_and_one_stream(
    client: httpx.Client, account: Account
) -> None:
    task = make_task(account)
    claim(task)
    for index in range(1, 231):
        commit(task, step=a_step(index))
    commit(task, step=a_step(231), release=ENDING)

    assert [number for number, _ in whole(client, f"{task.id}/events")] == list(range(234))


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("?starting_after=x", {}, 400, "invalid_parameter"),
        ("?starting_after=", {}, 400, "invalid_parameter"),
        ("", {"Last-Event-ID": "1; x"}, 400, "invalid_parameter"),
        ("", {"Last-Event-ID": "99999999999999999999"}, 400, "invalid_parameter"),
        ("", {"Authorization": "Bearer x"}, 401, "unauthenticated"),
    ],
)
def test_where_there_is_no_stream_the_answer_is_an_error_like_any_other(
    client: httpx.Client,
    account: Account,
    query: str,
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    path = f"{lived(account).id}/events{query}"
    answer = client.get(path, headers={**STREAM, **headers})

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/json"


def test_nobody_streams_what_is_not_theirs(client: httpx.Client, account: Account) -> None:
    task = lived(make_account("rival"))

    assert client.get(f"{task.id}/events", headers=STREAM).json()["code"] == "task_not_found"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/json, text/event-stream", "text/event-stream; charset=utf-8"),
        ("text/event-stream;q=0, */*", "application/json"),
    ],
)
def test_who_does_not_ask_for_a_stream_gets_a_page(
    client: httpx.Client, account: Account, accept: str, kind: str
) -> None:
    answer = client.get(f"{lived(account).id}/events", headers={"Accept": accept})

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, kind)


def test_a_server_that_ends_says_when_to_come_back_and_nothing_is_lost(
    client: httpx.Client, account: Account
) -> None:
    task = make_task(account)
    with running_web(database=database_url()) as own:
        url = f"{own.address}{SUBMIT}/{task.id}/events"
        with httpx.stream(
            "GET",
            url,
            headers={**account.bearer, **STREAM},
            timeout=PATIENCE,
            trust_env=False,
        ) as response:
            events = Events(response)
            assert next(iter(events)) == (0, "created")
            own.process.terminate()
            assert list(events) == []
        own.process.wait(PATIENCE)
        assert "Traceback" not in "\n".join(own.lines)
    (hint,) = [each for each in events.other if each.startswith("retry:")]
    assert 500 <= int(hint.removeprefix("retry: ")) <= 3000

    claim(task)
    commit(task, step=a_step(1), release=ENDING)
    assert whole(client, f"{task.id}/events", **{"Last-Event-ID": events.last}) == [
        (1, "started"),
        (2, "step.completed"),
        (3, "completed"),
    ]


@pytest.mark.parametrize(
    ("scope", "version"),
    [
        ({}, "0"),
        ({"project__paused": True}, "0r"),
        ({"tenant__disabled_at": CREATED}, "0r"),
        ({"end_user__disabled_at": CREATED, "cancel_requested_at": CREATED}, "0cr"),
    ],
)
def test_a_poll_a_page_and_the_listener_tell_one_version(
    scope: dict[str, Any], version: str
) -> None:
    task = AgentTaskFactory.create(**scope)
    listener = ChangeListener(
        awaited=list, changed=lambda _: None, found=lambda _tasks, _versions: None
    )

    polled = find_task(task_id=task.pk, tenant_id=task.tenant_id)
    page = read_events(task_id=task.pk, tenant_id=task.tenant_id, after=None, limit=1)

    assert polled is not None
    assert page is not None
    assert (polled.version, page.version) == (version, version)
    assert listener._versions([task.pk]) == {task.pk: version}
