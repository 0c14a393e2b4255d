"""The layer in which a poll waits for news: no thread and no database connection for each.

A Django view holds a thread for as long as it takes. So this layer asks Django for the first
answer, with its authentication and ETag, waits here, and asks Django again when there is news.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import Any
from urllib.parse import parse_qs

from caylex_project.web.app_client import REQUEST_ID, VERSION, AppClient, AppResponse, with_headers
from caylex_project.web.change_hub import ChangeHub, Watch
from caylex_project.web.lanes import PATIENCE
from caylex_project.web.lifespan import serve_lifespan
from caylex_project.web.limits import WAIT_SECONDS
from caylex_project.web.not_modified import NotModifiedCache
from caylex_project.web.request_limits import Application, ASGIMessage, Receive, Scope, Send
from caylex_project.web.sse import stream, wants_stream

_ID = r"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"
_TASK = re.compile(rf"/api/v1/agent-task/{_ID}(/.*)?\Z")
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_SECONDS = re.compile(r"[0-9]{1,2}\Z")
MAX_SECONDS = 60
STREAM_SECONDS = 20  # the longest wait for a thread of a caller that is ready to wait


class LongPolling:
    """Holds polls with `?wait=`, writes event streams, and passes on everything else.

    A poll for what its caller knows, and that still holds, is not passed on either.
    """

    def __init__(self, application: Application, *, hub: ChangeHub) -> None:
        self._application = application
        self._client = AppClient(application)
        self._hub = hub
        self._not_modified = NotModifiedCache(self._client, hub=hub)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's scope."""
        if scope["type"] == "lifespan":
            await serve_lifespan(receive, send, hub=self._hub)
            return
        place = _TASK.search(scope["path"]) if scope["type"] == "http" else None
        if place is None:
            await self._application(scope, receive, send)
            return
        task_id, below = uuid.UUID(place[1]), (place[2] or "").removesuffix("/")
        reads = scope["method"] == "GET"
        seconds = 0 if below else _seconds(scope)
        streams = below == "/events" and scope["method"] != "OPTIONS" and wants_stream(scope)
        if scope["method"] not in _READING:
            await self._application(scope, receive, self._notifying(send, task_id))
        elif streams or (reads and seconds):
            await self._wait(scope, receive, send, task_id=task_id, seconds=seconds)
        elif reads and not below and _knows(scope):
            answer = await self._not_modified.poll(scope, task_id=task_id)
            await answer.send(_without_version(send))
        else:
            await self._application(scope, receive, _without_version(send))

    async def _wait(
        self, scope: Scope, receive: Receive, send: Send, *, task_id: uuid.UUID, seconds: int
    ) -> None:
        """Hold the poll for so many seconds; a stream where there are none.

        The caller is ready to wait, and so is the question: for a thread, too.
        """
        scope = {
            **scope,
            PATIENCE: max(WAIT_SECONDS, min(seconds or STREAM_SECONDS, STREAM_SECONDS)),
        }
        gone = asyncio.ensure_future(_gone(receive))
        try:
            with self._hub.watch(task_id) as watch:
                if seconds:
                    answer = await self._hold(scope, watch, gone, seconds=seconds)
                else:
                    answer = await stream(
                        scope, send, client=self._client, hub=self._hub, watch=watch, gone=gone
                    )
        finally:
            gone.cancel()
        if answer is not None:
            await answer.send(_without_version(send))

    def _notifying(self, send: Send, task_id: uuid.UUID) -> Send:
        """Tell of what may have changed, before the caller hears that it has."""

        async def tell(message: ASGIMessage) -> None:
            if not 400 <= message.get("status", 400) < 500:
                self._hub.notify(task_id)
            await send(message)

        return _without_version(tell)

    async def _hold(
        self, scope: Scope, watch: Watch, gone: asyncio.Future[Any], *, seconds: int
    ) -> AppResponse | None:
        """Return the answer once it is another than now, or than the caller knows.

        1. Watch, before asking: what changes after the answer then wakes us.
        2. Ask. An error, the end of the task and what the caller does not know are told at once.
        3. Wait to be woken; ask whether it is still the same. If not, that is the answer.
        4. When the time is up or the process ends, the first answer still holds. None: the
           caller has gone.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        watch.begin()
        first = latest = await self._client.request(scope)
        etag = first.header(b"etag")
        if not _may_change(first) or etag is None or (_knows(scope) and first.status == 200):
            return first
        again = with_headers(scope, {b"if-none-match": etag, **first.request_id})
        while True:
            watch.mark_seen(latest.version)
            left = deadline - asyncio.get_running_loop().time()
            woken = not self._hub.stopping and await watch.wait(gone=gone, timeout=left)
            if gone.done():
                return None
            if not woken or self._hub.stopping:
                return first
            watch.begin()
            latest = await self._client.request_coalesced(again)
            if latest.status != 304:
                return _as_part_of(first, latest)


def _seconds(scope: Scope) -> int:
    """Return how long to wait; 0 for what Django will refuse, too."""
    query = scope.get("query_string", b"")
    if b"wait" not in query:
        return 0
    text = parse_qs(query.decode("latin-1")).get("wait", ["0"])[-1]
    seconds = int(text) if _SECONDS.match(text) and text.isascii() else 0
    return seconds if seconds <= MAX_SECONDS else 0


def _knows(scope: Scope) -> bool:
    """Tell whether the caller says what it has seen."""
    return any(name == b"if-none-match" for name, _ in scope["headers"])


def _may_change(answer: AppResponse) -> bool:
    """Tell whether there is something to wait for; Django says when to ask again if so."""
    return answer.status in (200, 304) and answer.header(b"retry-after") is not None


def _as_part_of(first: AppResponse, shared: AppResponse) -> AppResponse:
    """Return a shared answer under this request's id; an error names another's in its body."""
    own = first.header(REQUEST_ID)
    return shared if shared.status >= 400 or own is None else shared.under(own)


async def _gone(receive: Receive) -> None:
    """Return when the caller has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _without_version(send: Send) -> Send:
    async def watch(message: ASGIMessage) -> None:
        if message["type"] == "http.response.start":
            kept = [each for each in message["headers"] if each[0].lower() != VERSION]
            message = {**message, "headers": kept}
        await send(message)

    return watch
