"""Where requests wait: who is woken, by what, and what is left when they have gone."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from caylex_project.web import sse
from caylex_project.web.app_client import AppClient
from caylex_project.web.change_hub import ChangeHub
from caylex_project.web.long_polling import LongPolling
from caylex_project.web.request_limits import ASGIMessage, Scope

Keys = Sequence[uuid.UUID]
TASK = uuid.UUID("0d4c1c3e-8f6b-4f0e-9a53-1f6f6b7f2a10")
PATH = f"/api/v1/agent-task/{TASK}"


class ByHand:
    """A source that says what the test says; called as a class is."""

    def __init__(self) -> None:
        self.running = False
        self.is_live = True

    def __call__(
        self,
        *,
        awaited: Callable[[], Keys],
        changed: Callable[[Keys], None],
        found: Callable[[Keys, Mapping[uuid.UUID, str]], None],
    ) -> ByHand:
        self.awaited, self.changed, self.found = awaited, changed, found
        return self

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def join(self, timeout: float | None = None) -> None:
        assert not self.running


def never() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def turns(count: int = 20) -> None:
    """Let everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_news_ends_the_wait_of_those_it_is_about_and_of_nobody_else() -> None:
    source, other = ByHand(), uuid.uuid4()
    hub = ChangeHub(source)
    with hub.watch(TASK) as first, hub.watch(TASK) as second, hub.watch(other) as third:
        waits = [
            asyncio.create_task(each.wait(gone=never(), timeout=60))
            for each in (first, second, third)
        ]
        await turns()
        source.changed([TASK, uuid.uuid4()])
        await turns()
        assert [each.done() for each in waits] == [True, True, False]
        assert sorted(source.awaited()) == sorted([TASK, other])
        hub.stop()
        assert [await each for each in waits] == [True] * 3
    assert source.awaited() == []


async def test_news_between_asking_and_waiting_is_not_lost() -> None:
    source = ByHand()
    hub = ChangeHub(source)
    with hub.watch(TASK) as watch:
        watch.begin()
        source.changed([TASK])
        await turns()
        watch.mark_seen("1")
        assert await watch.wait(gone=never(), timeout=60)
        watch.begin()
        assert not await watch.wait(gone=never(), timeout=0)


@pytest.mark.parametrize(
    ("seen", "found", "woken"),
    [("1", {TASK: "2"}, True), ("1", {TASK: "1"}, False), ("1", {}, True)],
)
async def test_a_look_wakes_who_has_seen_another_version(
    seen: str, found: dict[uuid.UUID, str], woken: bool
) -> None:
    source = ByHand()
    hub = ChangeHub(source)
    with hub.watch(TASK) as watch:
        watch.begin()
        source.found([TASK], {TASK: "0"})  # nobody has seen anything yet
        await turns()
        watch.mark_seen(seen)
        source.found([TASK], found)
        await turns()
        assert await watch.wait(gone=never(), timeout=0) is woken


async def test_who_has_gone_waits_no_longer_and_is_forgotten() -> None:
    source = ByHand()
    hub = ChangeHub(source)
    gone = never()
    with hub.watch(TASK) as watch:
        waiting = asyncio.create_task(watch.wait(gone=gone, timeout=60))
        await turns()
        gone.set_result(None)
        assert await waiting is False
    assert source.awaited() == []


async def test_its_end_ends_the_source() -> None:
    source = ByHand()
    hub = ChangeHub(source)
    hub.start()
    assert source.running
    await hub.close()
    assert not source.running


class Django:
    """Answers polls and pages of events like the application behind the layer."""

    def __init__(self) -> None:
        self.version = 1
        self.asked: list[Scope] = []
        self.status = 200

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        self.asked.append(scope)
        etag = b'"%d"' % self.version
        known = dict(scope["headers"]).get(b"if-none-match") == etag
        page: dict[str, Any] = {
            "events": [],
            "next_starting_after": None,
            "terminal": False,
            "has_more": False,
        }
        headers = [
            (b"X-Task-Version", str(self.version).encode()),
            (b"ETag", etag),
            (b"Retry-After", b"2"),
            (b"X-Request-Id", dict(scope["headers"]).get(b"x-request-id", b"made")),
        ]
        status = 304 if known else self.status
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(page).encode()})


class Caller:
    """One request to the layer."""

    def __init__(self, layer: LongPolling, path: str, query: str = "", **headers: str) -> None:
        self.sent: list[ASGIMessage] = []
        self.gone = asyncio.Event()
        self._first = True
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        self.task = asyncio.create_task(layer(scope, self._receive, self._send))

    async def _receive(self) -> ASGIMessage:
        if self._first:
            self._first = False
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: ASGIMessage) -> None:
        self.sent.append(message)

    @property
    def text(self) -> str:
        """The body so far."""
        return b"".join(each.get("body", b"") for each in self.sent).decode()


async def test_many_who_ask_the_same_when_woken_ask_once_and_others_for_themselves() -> None:
    django, source = Django(), ByHand()
    layer = LongPolling(django, hub=ChangeHub(source))
    same = [
        Caller(layer, PATH, "wait=60", authorization="one", **{"x-request-id": f"r{n}"})
        for n in range(50)
    ]
    other = Caller(layer, PATH, "wait=60", authorization="two")
    await turns()
    assert len(django.asked) == 51
    django.version = 2
    source.changed([TASK])
    await asyncio.gather(*(each.task for each in [*same, other]))

    again = django.asked[51:]
    assert sorted(dict(each["headers"])[b"authorization"] for each in again) == [b"one", b"two"]
    for number, each in enumerate(same):
        headers = dict(each.sent[0]["headers"])
        assert (each.sent[0]["status"], headers[b"ETag"]) == (200, b'"2"')
        assert headers[b"x-request-id"] == b"r%d" % number
        assert b"X-Task-Version" not in headers


async def test_a_false_alarm_is_asked_about_and_waited_out() -> None:
    django, source = Django(), ByHand()
    caller = Caller(LongPolling(django, hub=ChangeHub(source)), PATH, "wait=60")
    await turns()
    source.changed([TASK])
    await turns()
    assert (len(django.asked), caller.sent) == (2, [])
    django.version = 2
    source.changed([TASK])
    await caller.task
    assert (len(django.asked), caller.sent[0]["status"]) == (3, 200)


async def test_a_caller_who_leaves_is_not_asked_for_again() -> None:
    django, source = Django(), ByHand()
    layer = LongPolling(django, hub=ChangeHub(source))
    callers = [Caller(layer, PATH, "wait=60"), Caller(layer, f"{PATH}/events", accept=ACCEPT)]
    await turns()
    for each in callers:
        each.gone.set()
        await each.task
    assert source.awaited() == []
    source.changed([TASK])
    await turns()
    assert len(django.asked) == 2
    assert callers[0].sent == []


ACCEPT = "text/event-stream"


async def test_a_silent_stream_says_that_it_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sse.SILENCE == 15.0
    monkeypatch.setattr(sse, "SILENCE", 0.001)
    django = Django()
    caller = Caller(LongPolling(django, hub=ChangeHub(ByHand())), f"{PATH}/events", accept=ACCEPT)
    while caller.text.count(": nothing new\n\n") < 3:
        await asyncio.sleep(0)
    caller.gone.set()
    await caller.task

    assert len(django.asked) == 1  # a comment costs no question


async def test_a_database_that_is_away_does_not_end_a_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sse, "AWAY", 0.001)
    django, source = Django(), ByHand()
    caller = Caller(LongPolling(django, hub=ChangeHub(source)), f"{PATH}/events", accept=ACCEPT)
    await turns()
    django.status = 503
    source.changed([TASK])
    while len(django.asked) < 4:
        await asyncio.sleep(0)
    assert not caller.task.done()
    django.status = 401
    await caller.task

    assert caller.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_a_question_that_has_begun_is_not_shared_with_who_comes_later() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    asked = 0

    async def slow(scope: Scope, receive: Any, send: Any) -> None:
        nonlocal asked
        asked += 1
        begun.set()
        await go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(asked).encode()})

    asker = AppClient(slow)
    scope: Scope = {"path": PATH, "query_string": b"", "headers": []}
    first = asyncio.create_task(asker.request_coalesced(scope))
    await begun.wait()
    later = asyncio.create_task(asker.request_coalesced(scope))
    await turns()
    go_on.set()
    await asyncio.gather(first, later)

    assert asked == 2
