"""Django on a few threads that live as long as the process."""

from __future__ import annotations

import contextvars
import io
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any

from django.conf import settings
from django.core import signals
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http import FileResponse, HttpResponseBase
from django.urls import set_script_prefix

from caylex_project.web.connection import CONNECTION
from caylex_project.web.http_problem import DATABASE_UNAVAILABLE, OVERLOADED, RETRY_AFTER
from caylex_project.web.lanes import PATIENCE, Busy, ClientGone, Lane
from caylex_project.web.limits import WAIT_SECONDS
from caylex_project.web.request_limits import answer, whole_body

PIECE = 65_536  # bytes of an answer that are sent at once: a client that is slow holds no more

Scope = dict[str, Any]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class ThreadedDjango(ASGIHandler):
    """Django, entered once a request, on the threads of the request's kind.

    The stock handler starts a thread for each request and enters it once for each signal and
    each half of a middleware, which costs more than all that our views do. Here one entry
    builds the request, runs the middleware and the view, and closes up. Answers are whole, but for
    files; what streams or waits belongs into a layer before this one.
    """

    def __init__(self) -> None:
        super().__init__()
        lanes = {"alive": 1, "api": settings.WEB_THREADS, **settings.WEB_SIDE_THREADS}
        self._lanes = {name: Lane(name, threads=threads) for name, threads in lanes.items()}

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the synchronous chain, whatever was asked for."""
        super().load_middleware(is_async=False)

    async def __call__(
        self, scope: Scope, receive: Callable[[], Awaitable[Mapping[str, Any]]], send: Send
    ) -> None:
        """Answer one request; 503 where no thread is free in time."""
        body = await whole_body(receive)
        if body is None:
            return
        lane = self._lanes[_kind(scope)]
        connection = scope.get(CONNECTION)
        try:
            status, headers, content = await lane.run(
                partial(contextvars.copy_context().run, self._respond, scope, body),
                is_gone=lambda: connection is not None and connection.is_gone,
                patience=scope.get(PATIENCE, WAIT_SECONDS),
            )
        except ClientGone:
            return
        except Busy as busy:
            words = DATABASE_UNAVAILABLE if busy.in_outage else OVERLOADED
            await answer(scope, send, status=503, words=words, headers=[RETRY_AFTER])
            return
        lane.note(status)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if isinstance(content, bytes):
            await _send_whole(send, content)
        else:
            await _send_file(send, content, lane)

    def _respond(self, scope: Scope, body: bytes) -> tuple[int, Headers, bytes | FileResponse]:
        """Return status, headers and content; runs on a thread of ours.

        A file is left open where nothing of its request is: in the lane that has one thread.
        """
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, refusal = self.create_request(scope, io.BytesIO(body))
        response = refusal if request is None else self.get_response(request)
        assert response is not None
        if isinstance(response, FileResponse) and _kind(scope) == "anonymous":
            response.block_size = PIECE
            return response.status_code, _headers(response), response
        try:
            return response.status_code, _headers(response), b"".join(response)
        finally:
            response.close()  # sends request_finished, which gives the connection back


def _kind(scope: Scope) -> str:
    """Return the name of the lane for a request."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    if path == "/healthz":
        return "alive"
    if path in ("/readyz", "/metrics"):
        return "operators"
    if path.startswith("/admin"):
        return "sign_in" if path.startswith("/admin/login") else "admin"
    if path.startswith(settings.STATIC_URL):
        return "anonymous"
    known = any(name == b"authorization" for name, _ in scope["headers"])
    return "api" if known else "anonymous"


async def _send_whole(send: Send, content: bytes) -> None:
    for start in range(PIECE, len(content), PIECE):
        piece = content[start - PIECE : start]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    last = content[(len(content) - 1) // PIECE * PIECE :] if content else b""
    await send({"type": "http.response.body", "body": last})


async def _send_file(send: Send, response: FileResponse, lane: Lane) -> None:
    pieces: Iterator[bytes] = iter(response)
    try:
        while piece := await lane.run_at_once(partial(next, pieces, b"")):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    finally:
        lane.submit(response.close)
    await send({"type": "http.response.body", "body": b""})


def _headers(response: HttpResponseBase) -> Headers:
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    cookies = [
        (b"Set-Cookie", each.output(header="").strip().encode("ascii"))
        for each in response.cookies.values()
    ]
    return headers + cookies
