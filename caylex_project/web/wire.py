"""Answers as bytes, for what the server's protocol class has to say itself."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from caylex_project.web.http_problem import (
    ErrorFormat,
    accept_of,
    headers_of_problem,
    plain_problem,
    request_id_of,
)

MAX_OF_A_PATH = 1_000  # bytes of an address that are repeated in an answer

Headers = Sequence[tuple[bytes, bytes]]

logger = structlog.get_logger(__name__)


def refusal(status: int, *, target: bytes, asked: Headers, server: Headers) -> bytes:
    """Return a whole answer to a request whose `target` and headers, `asked`, are known so far.

    `server` are the headers that the server gives to every answer.
    """
    words, request_id = plain_problem(status), request_id_of(asked)
    logger.info("request.refused", request_id=request_id, status=status, code=words.code)
    path = target.partition(b"?")[0][:MAX_OF_A_PATH].decode("latin-1")
    shape = ErrorFormat.for_request(accept=accept_of(asked), path=path)
    body = json.dumps(
        shape.body(status=status, detail=words.detail, code=words.code, request_id=request_id)
    ).encode()
    headers = [
        *server,
        *headers_of_problem(shape, request_id=request_id, length=len(body)),
        (b"connection", b"close"),
    ]
    lines = [b"%s: %s\r\n" % each for each in headers]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", body])


def unframed(cycle: RequestResponseCycle) -> Callable[[Any], Awaitable[None]]:
    """Return a `send` for HTTP/1.0, which has no chunks: the connection's end ends the body."""

    async def send(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            cycle.chunked_encoding = False
        else:
            cycle.expected_content_length = len(message.get("body", b""))
        await RequestResponseCycle.send(cycle, message)  # type: ignore[arg-type]

    return send
