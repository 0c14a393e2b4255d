"""What stands before Django: requests that are too large are refused before they are read.

Django reads the whole body before a view runs, so the limits belong here, in the ASGI layer.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from caylex_project.problem import (
    BY_STATUS,
    INTERNAL_ERROR,
    Plain,
    Shape,
    plain_problem,
    request_id_for,
)

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# A prompt of 100,000 characters takes up to 1.2 MB where a client escapes each of them.
MAX_BODY = 1_500_000  # bytes
# Pages of the admin that take a file: the larger bodies are read for those alone who may open the
# page, so that nobody else can have so much kept in memory.
UPLOADS: Mapping[str, int] = {"/admin/skills_app/skill/add/": 21_200_000}  # path: bytes
MAX_HEADERS = 16_000  # bytes, names and values together
LINGER = 2.0  # seconds that we go on discarding, so that a busy sender gets to read the answer
# RFC 2231 parameters (`name*=charset''text`) have no place in the type of a JSON body, and an
# unknown charset or an overlong value there is an exception in Django's constructor of requests.
_PLAIN_TYPE = re.compile(rb"[\t\x20-\x7e]{0,256}\Z")

logger = structlog.get_logger(__name__)


class RequestGuard:
    """Answer 413, 415 and 431 early with flat memory, and pass on what is left, body in hand.

    A chunked body gets a Content-Length, because what lies behind takes its absence for an
    empty body. An exception that reaches this edge becomes an answer in the common shape.
    """

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's scope; only HTTP is guarded."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        limit = await self._limit(scope)
        refusal = _look(scope, limit)
        if refusal is not None:
            await _refuse(scope, receive, send, status=refusal)
            return
        try:
            body = await whole_body(receive, limit=limit)
        except BodyTooLarge:
            await _refuse(scope, receive, send, status=413)
            return
        if body is not None:
            if body:
                _set_length(scope, len(body))
            await self._serve(scope, body, receive, send)

    async def _limit(self, scope: Scope) -> int:
        """Return how many bytes the body may have."""
        more = UPLOADS.get(scope["path"])
        if more is None or scope["method"] != "POST" or _look(scope, MAX_BODY) != 413:
            return MAX_BODY
        wanted = _look(scope, more) is None and await self._may_open(scope)
        return more if wanted else MAX_BODY

    async def _may_open(self, scope: Scope) -> bool:
        """Tell whether the sender would be shown the page that the POST goes to."""
        statuses = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        of_body = (b"content-length", b"content-type", b"transfer-encoding", b"expect")
        headers = [(name, value) for name, value in scope["headers"] if name not in of_body]
        asked = {**scope, "method": "GET", "query_string": b"", "headers": headers}
        await self._serve(asked, b"", receive, note)
        return statuses == [200]

    async def _serve(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        replayed = started = False

        async def receive_again() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.application(scope, receive_again, watch)
        except Exception:
            logger.exception("A request ended in an exception outside the views.")
            if started:
                raise
            await _answer(scope, send, status=500, words=INTERNAL_ERROR)


class BodyTooLarge(Exception):
    """The body went on beyond the limit."""


def _look(scope: Scope, limit: int) -> int | None:
    """Return the status of the refusal that the head of the request has earned, or None.

    `limit` is how many bytes the body may have.
    """
    if not scope.get("query_string", b"").isascii():
        return 400
    total = 0
    for name, value in scope["headers"]:
        total += len(name) + len(value)
        if name == b"content-type" and (not _PLAIN_TYPE.match(value) or b"*" in value):
            return 415 if total <= MAX_HEADERS else 431
        if name == b"content-length" and not _is_within(value, limit):
            return 413
    return 431 if total > MAX_HEADERS else None


def _is_within(length: bytes, limit: int) -> bool:
    digits = length.strip().lstrip(b"0")
    return not digits or (digits.isdigit() and len(digits) < 10 and int(digits) <= limit)


def _set_length(scope: Scope, length: int) -> None:
    kept = [
        (name, value)
        for name, value in scope["headers"]
        if name not in (b"content-length", b"transfer-encoding")
    ]
    scope["headers"] = [*kept, (b"content-length", str(length).encode())]


async def whole_body(receive: Receive, *, limit: int | None = None) -> bytes | None:
    """Return the whole body, or None where the client went away before its end.

    Raises BodyTooLarge as soon as more than `limit` bytes have come.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if limit is not None and len(body) > limit:
            raise BodyTooLarge
        if not message.get("more_body", False):
            return bytes(body)


def accept_of(scope: Scope) -> str:
    """Return the request's `Accept`, its lines joined as one."""
    lines = [value for name, value in scope["headers"] if name == b"accept"]
    return b",".join(lines).decode("latin-1")


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return request_id_for(value.decode("latin-1"))
    return request_id_for(None)


async def _refuse(scope: Scope, receive: Receive, send: Send, *, status: int) -> None:
    words = BY_STATUS.get(status) or plain_problem(status)
    await _answer(scope, send, status=status, words=words, more=True)
    # Closing now, with unread bytes in the socket, would reset the connection and take the
    # answer with it. A client that waits for 100-continue has sent nothing and is not asked to.
    if not _expects_continue(scope):
        try:
            async with asyncio.timeout(LINGER):
                while True:
                    message = await receive()
                    if message["type"] != "http.request" or not message.get("more_body"):
                        break
        except TimeoutError:
            pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _expects_continue(scope: Scope) -> bool:
    return any(
        name == b"expect" and value.lower() == b"100-continue" for name, value in scope["headers"]
    )


async def _answer(
    scope: Scope, send: Send, *, status: int, words: Plain, more: bool = False
) -> None:
    request_id = _request_id(scope)
    shape = Shape.for_request(accept=accept_of(scope), path=scope["path"])
    body = json.dumps(
        shape.body(status=status, detail=words.detail, code=words.code, request_id=request_id)
    ).encode()
    logger.info("request", method=scope["method"], path=scope["path"], status=status)
    headers = [
        (b"content-type", shape.content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": more})
