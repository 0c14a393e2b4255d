"""What stands before Django: who asks, and the body, within limits.

Django reads the whole body before a view runs, so its limits belong here, in the ASGI layer. What
comes before the body is limited by `protocol.py`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import structlog

from caylex_project.logs import loggable_path
from caylex_project.web.connection import CONNECTION
from caylex_project.web.forwarded import TrustedProxies
from caylex_project.web.http_problem import (
    INTERNAL_ERROR,
    OVERLOADED,
    RETRY_AFTER,
    UNSUPPORTED_ENCODING,
    ErrorFormat,
    ErrorTemplate,
    accept_of,
    headers_of_problem,
    plain_problem,
    request_id_of,
)
from caylex_project.web.limits import LINGER, MAX_BODY, UPLOADS
from caylex_project.web.request_bodies import BodyTooLarge, BodyTooSlow, NoRoom, Uploads

Scope = dict[str, Any]
ASGIMessage = Mapping[str, Any]
Receive = Callable[[], Awaitable[ASGIMessage]]
Send = Callable[[ASGIMessage], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

CLOSE: Header = (b"connection", b"close")
_ACCEPT_IDENTITY: Header = (b"accept-encoding", b"identity")

# RFC 2231 parameters (`name*=charset''text`) have no place in the type of a JSON body, and an
# unknown charset or an overlong value there is an exception in Django's constructor of requests.
_PLAIN_TYPE = re.compile(rb"[\t\x20-\x7e]{0,256}\Z")
_IDENTITY = (b"", b"identity")

logger = structlog.get_logger(__name__)


class Refusal(Exception):
    """An answer other than success, before Django is asked."""

    def __init__(self, status: int, words: ErrorTemplate | None = None, *headers: Header) -> None:
        super().__init__(status)
        self.status = status
        self.words = words or plain_problem(status)
        self.headers = headers


class RequestLimits:
    """Refuse early with flat memory, and pass on what is left, body in hand.

    A chunked body gets a Content-Length, because what lies behind takes its absence for an
    empty body. An exception that reaches this edge becomes an answer in the common shape.
    """

    def __init__(self, application: Application, *, proxies: TrustedProxies) -> None:
        self.application = application
        self._proxies = proxies
        self._uploads = Uploads()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's scope; only HTTP is guarded."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        scope["headers"] = list(scope["headers"])  # what the server may add later is not believed
        try:
            if CONNECTION not in scope:
                logger.critical(
                    "server.unguarded", hint="Do not start uvicorn with --lifespan off."
                )
                raise Refusal(503)
            self._proxies.identify(scope)
            largest = await self._largest(scope)
            if not _check_head(scope, largest):
                await self._serve(scope, b"", receive, send)
                return
            async with self._uploads.body(receive, largest=largest) as body:
                if body is not None:
                    _set_length(scope, len(body))
                    await self._serve(scope, body, receive, send)
        except Refusal as refusal:
            await _refuse(scope, receive, send, refusal)
        except BodyTooLarge:
            await _refuse(scope, receive, send, Refusal(413))
        except BodyTooSlow:
            await _refuse(scope, receive, send, Refusal(408))
        except NoRoom:
            await _refuse(scope, receive, send, Refusal(503, OVERLOADED, RETRY_AFTER))

    async def _largest(self, scope: Scope) -> int:
        """Return how many bytes the body may have: more where a page takes a file.

        Only for who may open that page, so that nobody else can have so much kept in memory.
        """
        more = UPLOADS.get(scope["path"])
        if more is None or scope["method"] != "POST":
            return MAX_BODY
        declared = max(
            (_digits(v) for k, v in scope["headers"] if k == b"content-length"), default=0
        )
        wants_more = MAX_BODY < declared <= more
        return more if wants_more and await self._may_open(scope) else MAX_BODY

    async def _may_open(self, scope: Scope) -> bool:
        """Tell whether the sender would be shown the page that the POST goes to."""
        statuses = []

        async def receive() -> ASGIMessage:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def note(message: ASGIMessage) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        of_body = (b"content-length", b"content-type", b"transfer-encoding", b"expect")
        headers = [(name, value) for name, value in scope["headers"] if name not in of_body]
        asked = {**scope, "method": "GET", "query_string": b"", "headers": headers}
        await self._serve(asked, b"", receive, note)
        return statuses == [200]

    async def _serve(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        replayed = started = False

        async def receive_again() -> ASGIMessage:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def watch(message: ASGIMessage) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.application(scope, receive_again, watch)
        except Exception:
            logger.exception("A request ended in an exception outside the views.")
            if started:
                raise
            await answer(scope, send, status=500, words=INTERNAL_ERROR, headers=[CLOSE])


def _check_head(scope: Scope, largest: int) -> bool:
    """Tell whether a body follows, of `largest` bytes at most.

    Raises Refusal for what the head of the request has earned.
    """
    if not scope.get("query_string", b"").isascii():
        raise Refusal(400)
    has_body = encoded = False
    for name, value in scope["headers"]:
        if name == b"content-type" and (not _PLAIN_TYPE.match(value) or b"*" in value):
            raise Refusal(415)
        if name == b"content-length":
            length = _digits(value)
            if length > largest:
                raise Refusal(413)
            has_body = length > 0
        elif name == b"transfer-encoding":
            has_body = True
        elif name == b"content-encoding":
            encoded = value.strip().lower() not in _IDENTITY
    if has_body and encoded:
        raise Refusal(415, UNSUPPORTED_ENCODING, _ACCEPT_IDENTITY)
    return has_body


def _digits(text: bytes) -> int:
    """Return the number of a Content-Length, or one beyond any limit where it is none."""
    digits = text.strip().lstrip(b"0")
    if digits and not (digits.isdigit() and len(digits) < 10):
        return 10**10
    return int(digits or b"0")


def _set_length(scope: Scope, length: int) -> None:
    kept = [
        (name, value)
        for name, value in scope["headers"]
        if name not in (b"content-length", b"transfer-encoding")
    ]
    scope["headers"] = [*kept, (b"content-length", str(length).encode())]


async def whole_body(receive: Receive) -> bytes | None:
    """Return the whole body, or None where the client went away before its end."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


async def _refuse(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    await answer(
        scope,
        send,
        status=refusal.status,
        words=refusal.words,
        headers=[*refusal.headers, CLOSE],
        more=True,
    )
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


async def answer(
    scope: Scope,
    send: Send,
    *,
    status: int,
    words: ErrorTemplate,
    headers: Iterable[Header] = (),
    more: bool = False,
) -> None:
    """Send an error in the common shape; `more` leaves the end of the answer to the caller."""
    request_id = request_id_of(scope["headers"])
    shape = ErrorFormat.for_request(accept=accept_of(scope["headers"]), path=scope["path"])
    body = json.dumps(
        shape.body(status=status, detail=words.detail, code=words.code, request_id=request_id)
    ).encode()
    path = loggable_path(scope["path"])
    logger.info("request", request_id=request_id, method=scope["method"], path=path, status=status)
    ours = headers_of_problem(shape, request_id=request_id, length=len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*ours, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": more})
