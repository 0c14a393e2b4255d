"""Polls that are answered with 304 before Django: when, for whom, and for how long."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from caylex_project.web import not_modified
from caylex_project.web.change_hub import ChangeHub
from caylex_project.web.long_polling import LongPolling
from caylex_project.web.request_limits import ASGIMessage, Scope
from tests.web.test_change_hub import PATH, TASK, ByHand, Django, turns


class Backend:
    """Callers of the layer, and what stands behind it."""

    def __init__(self) -> None:
        self.django, self.source = Django(), ByHand()
        self.hub = ChangeHub(self.source)
        self.layer = LongPolling(self.django, hub=self.hub)

    async def send(
        self, method: str = "GET", path: str = PATH, **headers: str
    ) -> list[ASGIMessage]:
        """Send a request and return what came back."""
        sent: list[ASGIMessage] = []

        async def receive() -> ASGIMessage:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: ASGIMessage) -> None:
            sent.append(message)

        await self.layer(
            {
                "type": "http",
                "method": method,
                "path": path,
                "query_string": b"",
                "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            },
            receive,
            send,
        )
        return sent

    async def poll(self, *, path: str = PATH, **changed: str) -> int:
        """Poll for what was seen as version 1; return the status."""
        known = {"authorization": "one", "if-none-match": '"1"', **changed}
        return int((await self.send(path=path, **known))[0]["status"])

    @property
    def asked(self) -> int:
        """How often Django was asked."""
        return len(self.django.asked)


async def test_what_django_has_said_is_said_again_without_asking_it() -> None:
    backend = Backend()
    known = {"authorization": "one", "if-none-match": '"1"'}
    first = await backend.send(**known, **{"x-request-id": "r1"})
    again = await backend.send(**known, **{"x-request-id": "r2", "traceparent": "00-1-2-01"})

    assert backend.asked == 1
    headers = [dict(each[0]["headers"]) for each in (first, again)]
    assert [each[b"X-Request-Id"] for each in headers[:1]] == [b"r1"]
    assert headers[1] == {b"ETag": b'"1"', b"Retry-After": b"2", b"x-request-id": b"r2"}
    assert (again[0]["status"], again[1].get("body")) == (304, first[1]["body"])


async def test_a_change_that_is_told_of_is_seen_at_once() -> None:
    backend = Backend()
    await backend.poll()
    backend.django.version = 2
    backend.source.changed([uuid.uuid4()])
    await turns()
    assert (await backend.poll(), backend.asked) == (304, 1)
    backend.source.changed([TASK])
    await turns()
    assert (await backend.poll(), backend.asked) == (200, 2)


@pytest.mark.parametrize("versions", [{TASK: "2"}, {}])
async def test_a_change_that_a_look_finds_is_seen(versions: dict[uuid.UUID, str]) -> None:
    backend = Backend()
    await backend.poll()
    assert backend.source.awaited() == [TASK]
    backend.source.found([TASK], {TASK: "1"})
    await turns()
    assert (await backend.poll(), backend.asked) == (304, 1)
    backend.django.version = 2
    backend.source.found([TASK], versions)
    await turns()
    assert (await backend.poll(), backend.asked) == (200, 2)


async def test_a_change_while_django_answers_is_not_slept_over() -> None:
    backend = Backend()
    polling = asyncio.create_task(backend.poll())
    await asyncio.sleep(0)
    backend.hub.notify(TASK)

    assert await polling == 304
    assert backend.source.awaited() == []
    assert (await backend.poll(), backend.asked) == (304, 2)


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("below", ["", "/", "/cancel"])
async def test_who_changes_a_task_here_sees_the_change(method: str, below: str) -> None:
    backend = Backend()
    await backend.poll()
    backend.django.version = 2
    await backend.send(method, PATH + below, authorization="two")

    assert (await backend.poll(), backend.asked) == (200, 3)


async def test_who_may_change_nothing_is_no_news() -> None:
    backend = Backend()
    await backend.poll()
    backend.django.status = 401
    await backend.send("POST", f"{PATH}/cancel")

    assert (await backend.poll(), backend.asked) == (304, 2)


async def test_another_s_request_is_never_answered_with_what_was_said_to_one() -> None:
    backend = Backend()
    await backend.poll()
    backend.django.status = 404
    others: list[dict[str, Any]] = [
        {"authorization": "two"},
        {"if-none-match": '"2"'},
        {"accept": "text/html"},
        {"path": f"{PATH}/"},
    ]
    for number, each in enumerate(others):
        await backend.poll(**each)
        assert backend.asked == 2 + number


async def test_only_a_304_is_remembered() -> None:
    backend = Backend()
    for status in (200, 401, 404, 503):
        backend.django.status = status
        for _ in range(2):
            assert await backend.poll(**{"if-none-match": '"0"'}) == status
    assert (backend.asked, backend.source.awaited()) == (8, [])


async def test_after_five_seconds_the_token_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not_modified.LIFE == 5.0
    backend = Backend()
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    await backend.poll()

    async def revoked(scope: Scope, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    monkeypatch.setattr(Django, "__call__", lambda _, *request: revoked(*request))
    now += 4.9
    await turns()
    assert await backend.poll() == 304
    now += 0.2
    await turns()
    assert await backend.poll() == 401
    assert backend.source.awaited() == []


async def test_nothing_is_said_while_nobody_listens() -> None:
    backend = Backend()
    await backend.poll()
    backend.source.is_live = False
    assert (await backend.poll(), backend.asked) == (304, 2)
    backend.source.is_live = True
    assert (await backend.poll(), backend.asked) == (304, 2)
    backend.hub.stop()
    assert (await backend.poll(), backend.asked) == (304, 3)


async def test_no_more_than_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(not_modified, "MAX_ENTRIES", 3)
    backend = Backend()
    paths = [f"/api/v1/agent-task/{uuid.uuid4()}" for _ in range(5)]
    for path in paths:
        await backend.poll(path=path)
    assert len(backend.source.awaited()) == 3
    for path in reversed(paths[2:]):
        await backend.poll(path=path)
    assert backend.asked == 5
    await backend.poll(path=paths[0])
    assert (backend.asked, len(backend.source.awaited())) == (6, 3)
