"""How uvicorn reads our requests: counted while they arrive, one answer to each, no upgrades.

uvicorn's own class hands a request over when its head is whole, and sets no limit before. This one
counts what the parser is given and what it reports. The lifespan puts it in force.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from caylex_project.web.connection import CONNECTION, Connection
from caylex_project.web.limits import (
    HEAD_SECONDS,
    LINGER,
    MAX_HEADER_LINES,
    MAX_HEADERS,
    MAX_LINE,
    MAX_PIPELINED,
    MAX_TARGET,
    WRITE_SECONDS,
)
from caylex_project.web.wire import refusal, unframed

_SLICE = 16_384  # bytes given to the parser at once: what a limit may be exceeded by
_OF_UPGRADES = frozenset({b"upgrade", b"http2-settings"})


class _Phase(Enum):
    BETWEEN = auto()  # two requests
    HEAD = auto()
    BODY = auto()


class _Refused(Exception):
    """Ends the parsing of a request that is not served; raised with the status of the answer."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.url = b""
        self.headers = []
        self._phase = _Phase.BETWEEN
        self._bytes = self._lines = 0  # of the headers of this request; then of its trailers
        self._silent = 0  # bytes given to the parser since it last reported something
        self._upgrading = False
        self._discards = False
        self._active: RequestResponseCycle | None = None  # whose application was started last
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    # Of the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._time_the_head()

    def data_received(self, data: bytes) -> None:
        """Parse what came, in slices."""
        if self._discards:
            return
        self._unset_keepalive_if_required()
        view = memoryview(data)
        for start in range(0, len(view), _SLICE):
            self._feed(view[start : start + _SLICE])
            if self._discards:
                return
        self._time_the_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request of the connection, not only the one that was read last."""
        self._stop_head_timer()
        self._stop_write_timer()
        for cycle in self._unanswered():
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read: give it some time."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        self._stop_write_timer()

    # Of the parser

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._phase = _Phase.HEAD
        self._bytes = self._lines = self._silent = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the address. Raises _Refused."""
        self._silent = 0
        self.url += url
        if len(self.url) > MAX_TARGET:
            raise _Refused(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; count a trailer, and drop it. Raises _Refused."""
        self._silent = 0
        self._lines += 1
        self._bytes += len(name) + len(value)
        if self._bytes > MAX_HEADERS or self._lines > MAX_HEADER_LINES:
            raise _Refused(431)
        if self._phase is _Phase.HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, unless it has to be read again without its upgrade.

        Raises _Refused.
        """
        self._silent = 0
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise _Refused(505)
        self._stop_head_timer()
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _Refused(405)
            self._upgrading = True
            return
        for name, value in self.headers:
            if name == b"transfer-encoding" and (value.lower() != b"chunked" or version == "1.0"):
                raise _Refused(501 if version == "1.1" else 400)
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Refused(503)
        super().on_headers_complete()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope[CONNECTION] = Connection(
            client=self.client, scheme=self.scheme or "http", request=self.cycle
        )
        if version == "1.0":
            self.cycle.send = unframed(self.cycle)  # type: ignore[method-assign, assignment]
        self._phase = _Phase.BODY
        self._bytes = self._lines = 0

    def on_chunk_header(self) -> None:
        """Begin a chunk."""
        self._silent = 0

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._silent = 0
        if not self.cycle.response_complete:
            self.cycle.body += body
            if len(self.cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """End a request."""
        if self._upgrading:
            return
        self._silent = 0
        self._phase = _Phase.BETWEEN
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    # Of uvicorn

    def _should_upgrade(self) -> bool:
        return False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._active = cycle
        super()._start_asgi_task(cycle, app)

    # Of our own

    def _feed(self, data: memoryview | bytes) -> None:
        self._silent += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_without_upgrade(bytes(data[upgrade.args[0] :]))
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.args[0] if isinstance(cause, _Refused) else 400)
        else:
            if self._silent > MAX_LINE:
                self._refuse(431 if self._phase is _Phase.HEAD or self._lines else 400)

    def _read_without_upgrade(self, rest: bytes) -> None:
        """Read the request again as if it offered no upgrade (RFC 9110, section 7.8).

        The parser takes what follows such a head for another protocol, and not for the body.
        """
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self._version())]
        for name, value in self.headers:
            if name == b"connection":
                options = (each.strip() for each in value.split(b","))
                value = b",".join(each for each in options if each.lower() not in _OF_UPGRADES)
            if name not in _OF_UPGRADES:
                lines.append(b"%s: %s" % (name, value))
        self._upgrading = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._feed(b"\r\n".join(lines) + b"\r\n\r\n")
        if rest and not self._discards:
            self._feed(rest)

    def _version(self) -> bytes:
        return str(self.parser.get_http_version()).encode("ascii")

    def _unanswered(self) -> list[RequestResponseCycle]:
        """Return the requests that have no complete answer yet, in their order."""
        active = self._active
        started = [] if active is None or active.response_complete else [active]
        return started + [cycle for cycle, _ in reversed(self.pipeline)]

    def _refuse(self, status: int) -> None:
        """Read no further. The requests before get their answers; then the connection ends."""
        self._discards = True
        self._stop_head_timer()
        in_body = self._phase is _Phase.BODY
        before = self._unanswered()
        refused = before.pop() if before and in_body else None
        if before:
            if in_body:
                self.pipeline.popleft()
            before[-1].keep_alive = False
            return
        if not in_body or (refused is not None and not refused.response_started):
            self._write_refusal(status)
        if refused is not None:
            refused.disconnected = True
            refused.message_event.set()
        self._end()

    def _write_refusal(self, status: int) -> None:
        if not self.transport.is_closing():
            headers = self.server_state.default_headers
            self.transport.write(
                refusal(status, target=self.url, asked=self.headers, server=headers)
            )

    def _end(self) -> None:
        """Close once the client has had time to read: unread input would reset the connection."""
        if self.transport.is_closing():
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER, self.transport.close)

    def _time_the_head(self) -> None:
        """Have the head of the next request arrive within its time, and nothing else be timed."""
        waits = self._phase is _Phase.HEAD or (
            self._phase is _Phase.BETWEEN and not self._unanswered()
        )
        if waits and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_is_late)
        elif not waits:
            self._stop_head_timer()

    def _head_is_late(self) -> None:
        if self._phase is _Phase.HEAD:
            self._refuse(408)
        else:
            self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
