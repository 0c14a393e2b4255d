"""What counts as an answer of a tool server: small, plain, from its own origin, in the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import httpcore2
import httpx2

from agent_runtime.tools.faults import Exchange, Fault
from agent_runtime.tools.weigh import is_too_heavy

MAX_ANSWER_BYTES = 4_000_000  # of one answer, all its events together
MAX_ANSWER_EVENTS = 5_000  # messages of one event stream
MAX_EVENT_BYTES = 1_000_000
EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r")
BUSY_STATUS = (408, 425, 429, 503)


class Refused(Exception):
    """The answer is not one that we take."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


def check_head(request: httpx2.Request, status: int, headers: httpx2.Headers) -> None:
    """Refuse what the status line and the headers already tell. Raises Refused."""
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise Refused(Fault.ENCODED)
    if status in (401, 403):
        raise Refused(Fault.CREDENTIAL)
    if 300 <= status < 400 and not _stays(request, status, headers):
        raise Refused(Fault.REDIRECT)
    if status == 404 and "mcp-session-id" in request.headers:
        raise Refused(Fault.SESSION_GONE)
    if status in BUSY_STATUS:
        raise Refused(Fault.BUSY)


def _stays(request: httpx2.Request, status: int, headers: httpx2.Headers) -> bool:
    """True for a redirect that the SDK may follow: the same origin, the same method."""
    try:
        target = request.url.join(headers.get("location", ""))
    except httpx2.InvalidURL:
        return False
    return status in (307, 308) and origin(target) == origin(request.url) and not target.userinfo


def check_body(request: httpx2.Request, status: int, kind: str, body: bytes) -> None:
    """Let a JSON body pass, with an error status only when it is a JSON-RPC error."""
    if is_too_heavy(body):
        raise Refused(Fault.TOO_LARGE)
    if status < 400:
        if kind != "application/json" or status == 202:
            raise Refused(Fault.GARBLED)
        return
    error = _rpc_error(body) if kind == "application/json" else None
    if error is None:
        raise Refused(Fault.SERVER_ERROR if status >= 500 else Fault.REJECTED)
    if "mcp-session-id" in request.headers and _means_no_session(error):
        raise Refused(Fault.SESSION_GONE)


def _means_no_session(error: dict[str, Any]) -> bool:
    """True for the answer of many servers to a session that they no longer know.

    The protocol asks for 404, but the example that most of them began with sends this.
    """
    return error.get("code") == -32000 and "session" in str(error.get("message")).lower()


def _rpc_error(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) else None


async def read_body(response: httpcore2.Response) -> bytes:
    """Return the whole body, or raise Refused at the first byte too many."""
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise Refused(Fault.TOO_LARGE)
    return bytes(body)


def origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    """Return what makes two addresses the same server."""
    return url.scheme, url.host, url.port


class CappedStream(httpx2.AsyncByteStream):
    """An event stream under the caps; a fault ends it and is noted in the exchange.

    It passes whole events on, each weighed before anybody parses it.
    """

    def __init__(self, response: httpcore2.Response, exchange: Exchange, deadline: float) -> None:
        self._response = response
        self._exchange = exchange
        self._deadline = deadline
        self._events = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size, held = 0, bytearray()
        async with contextlib.aclosing(self._response.aiter_stream()) as chunks:
            while (chunk := await self._next(chunks)) is not None:
                size += len(chunk)
                searched = max(0, len(held) - 3)
                held += chunk
                whole = self._weighed(held, searched)
                if size > MAX_ANSWER_BYTES or len(held) - whole > MAX_EVENT_BYTES:
                    self._refuse()
                if whole:
                    yield bytes(held[:whole])
                    del held[:whole]
        self._weigh(bytes(held))
        yield bytes(held)

    def _weighed(self, held: bytearray, searched: int) -> int:
        """Return how many bytes of `held` are whole events, each of them light enough."""
        start = 0
        for end in EVENT_END.finditer(held, searched):
            self._weigh(bytes(held[start : end.end()]))
            start = end.end()
        return start

    def _weigh(self, event: bytes) -> None:
        self._events += 1
        lines = [line[5:] for line in event.splitlines() if line.startswith(b"data:")]
        too_large = len(event) > MAX_EVENT_BYTES or self._events > MAX_ANSWER_EVENTS
        if too_large or is_too_heavy(b"\n".join(lines)):
            self._refuse()

    def _refuse(self) -> NoReturn:
        self._exchange.fault = Fault.TOO_LARGE
        raise httpx2.SSEError("The answer is too large.")

    async def _next(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await anext(chunks, None)
        except TimeoutError:
            self._exchange.fault = Fault.DEADLINE
            raise httpx2.SSEError("The answer took too long.") from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError):
            self._exchange.fault = Fault.CUT
            raise httpx2.ReadError("The connection broke.") from None

    async def aclose(self) -> None:
        """Give the connection back, or close it when the stream was not read to its end."""
        await self._response.aclose()
