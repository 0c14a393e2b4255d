"""A task's events as a stream of server-sent events (WHATWG HTML, section 9.2).

The stream is written from the same pages that Django answers, one after the other: what it tells
and where it goes on is what the pages say.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any
from urllib.parse import parse_qs, urlencode

from caylex_project.web.app_client import VERSION, AppClient, AppResponse, with_headers
from caylex_project.web.change_hub import ChangeHub, Watch
from caylex_project.web.http_problem import JSON, PROBLEM_JSON, accept_of, accepts
from caylex_project.web.request_limits import Scope, Send

MEDIA_TYPE = "text/event-stream"
SILENCE = 15.0  # seconds after which a comment says that the stream is alive
AWAY = 2.0  # seconds until a database that is away is asked again
RETRY = (500, 3000)  # milliseconds until the clients of an ending process come back, at random
_OF_PAGES = (b"content-type", b"content-length", b"cache-control", b"etag", b"allow", VERSION)


def wants_stream(scope: Scope) -> bool:
    """Tell whether `Accept` names the media type."""
    return accepts(accept_of(scope["headers"]), frozenset({MEDIA_TYPE}))


async def stream(
    scope: Scope,
    send: Send,
    *,
    client: AppClient,
    hub: ChangeHub,
    watch: Watch,
    gone: asyncio.Future[Any],
) -> AppResponse | None:
    """Write events until the task has ended; return the answer instead where there is no stream.

    1. Ask for the page after the last event that the caller has.
    2. Write it; while there is more, ask for the next. When the task has ended, so does the stream.
    3. Wait to be woken, or say after a while that nothing happened; then 1.
    4. When the process ends, say when to come back, and end. The caller loses nothing by it.
    """
    after = _last_id(scope)
    watch.begin()
    answer = await client.request(_page_after(scope, after))
    if answer.status != 200:
        return answer
    await _start(send, answer)
    if scope["method"] == "HEAD":
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return None
    await _write(send, b": events\n\n")
    scope = with_headers(scope, answer.request_id)
    while not gone.done():
        pause = SILENCE
        if answer.status == 200:
            page = json.loads(answer.body)
            after = page["next_starting_after"]
            await _write(send, _lines(page["events"]))
            if page["terminal"] and not page["has_more"]:
                break
            pause = 0.0 if page["has_more"] else SILENCE
            watch.mark_seen(answer.version)
        elif answer.status == 503:
            pause = AWAY
        else:
            break  # the token was revoked, the task deleted: asking again will tell
        if pause and not await _news(send, hub=hub, watch=watch, gone=gone, pause=pause):
            break
        watch.begin()
        answer = await client.request_coalesced(_page_after(scope, after))
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    return None


async def _news(
    send: Send, *, hub: ChangeHub, watch: Watch, gone: asyncio.Future[Any], pause: float
) -> bool:
    """Return True when it is time to ask again; False when the stream has to end."""
    while True:
        woken = not hub.stopping and await watch.wait(gone=gone, timeout=pause)
        if gone.done():
            return False
        if hub.stopping:
            await _write(send, f"retry: {random.randint(*RETRY)}\n\n".encode())  # noqa: S311
            return False
        if woken or pause == AWAY:
            return True
        await _write(send, b": nothing new\n\n")


def _last_id(scope: Scope) -> str | int | None:
    """Return where the caller is: the header of a reconnect is newer than the address."""
    for name, value in scope["headers"]:
        if name == b"last-event-id" and value:
            return str(value, "latin-1")
    query = str(scope.get("query_string", b""), "latin-1")
    given = parse_qs(query, keep_blank_values=True).get("starting_after")
    return given[-1] if given else None


def _page_after(scope: Scope, after: str | int | None) -> Scope:
    query = [] if after is None else [("starting_after", str(after))]
    problems = accepts(
        accept_of(scope["headers"]), frozenset({PROBLEM_JSON})
    )  # the form of an error
    accept = f"{JSON}, {PROBLEM_JSON}" if problems else JSON
    return with_headers(scope, {b"accept": accept.encode()}, query=urlencode(query).encode("ascii"))


async def _start(send: Send, answer: AppResponse) -> None:
    headers = [
        *(each for each in answer.headers if each[0].lower() not in _OF_PAGES),
        (b"content-type", f"{MEDIA_TYPE}; charset=utf-8".encode()),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),  # a proxy that collects before it passes on
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _write(send: Send, body: bytes) -> None:
    if body:
        await send({"type": "http.response.body", "body": body, "more_body": True})


def _lines(events: list[dict[str, Any]]) -> bytes:
    return "".join(
        f"id: {each['id']}\nevent: {each['type']}\n"
        f"data: {json.dumps(each, ensure_ascii=False, separators=(',', ':'))}\n\n"
        for each in events
    ).encode()
