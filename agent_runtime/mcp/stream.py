"""The event stream of one answer: capped, each event read, and passed on as the SDK takes it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import NoReturn

import httpcore2
import httpx2

from agent_runtime.mcp.errors import Exchange, ResponseRejected, ToolServerFailure
from agent_runtime.mcp.jsonrpc import Envelope, answer_in, asked_by_server, for_sdk
from agent_runtime.mcp.response_checks import BYTE_ORDER_MARK, MAX_ANSWER_BYTES, Body, check_session
from agent_runtime.mcp.sse import EVENT_END, Event, parse_event
from agent_runtime.mcp.turns import turn

MAX_ANSWER_EVENTS = 5_000  # of one event stream


class EventStream(httpx2.AsyncByteStream):
    """Events under the caps until one answers; a fault ends it and is noted in the exchange.

    `deadline` is in the loop's time. `at_event` is told the id of each event that has one, by
    which the SDK asks for the rest of a stream that broke.
    """

    def __init__(
        self,
        *,
        body: Body,
        asked: Envelope,
        exchange: Exchange,
        deadline: float,
        at_event: Callable[[bytes], None],
    ) -> None:
        self._body = body
        self._asked = asked
        self._exchange = exchange
        self._deadline = deadline
        self._at_event = at_event
        self._events = 0
        self._nonsense = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size, held = 0, bytearray()
        async with contextlib.aclosing(self._body.stream()) as chunks:
            while (chunk := await self._next(chunks)) is not None:
                size += len(chunk)
                if size > MAX_ANSWER_BYTES:
                    self._refuse(ToolServerFailure.TOO_LARGE)
                searched = max(0, len(held) - 3)
                held += chunk
                start = 0
                for end in [found.end() for found in EVENT_END.finditer(held, searched)]:
                    if event := await self._read(bytes(held[start:end])):
                        yield event
                    start = end
                del held[:start]
        if held and (event := await self._read(bytes(held))):
            yield event
        if self._nonsense and not self._exchange.answered:
            self._refuse(ToolServerFailure.MALFORMED)

    async def _read(self, block: bytes) -> bytes:
        """Return a block of lines as the SDK takes it, empty where it is of no use."""
        self._events += 1
        if self._events > MAX_ANSWER_EVENTS:
            self._refuse(ToolServerFailure.TOO_LARGE)
        event = parse_event(block)
        if event.id:
            self._at_event(event.id)
        if event.name == b"endpoint" and self._asked.method != "tools/call":
            self._refuse(ToolServerFailure.OLD_TRANSPORT)
        if not event.data:
            return block.removeprefix(BYTE_ORDER_MARK)  # an id, a time to wait, a comment
        async with turn(size=len(block)):
            try:
                return self._of_use(event)
            except ResponseRejected as refusal:
                self._refuse(refusal.fault, refusal.detail)

    def _of_use(self, event: Event) -> bytes:
        found = event.json()
        answer = answer_in(found, self._asked)
        if answer is None:
            own = asked_by_server(found)
            self._nonsense |= own is None and not isinstance(found, dict)
            return b"" if own is None else event.with_data(own)
        if answer.error is not None:
            check_session(answer.error.message, answer, self._asked, self._exchange)
        passed_on = for_sdk(self._asked, answer)
        self._exchange.take(error=answer.error, result=answer.result)
        return event.with_data(passed_on)

    def _refuse(self, fault: ToolServerFailure, detail: str = "") -> NoReturn:
        self._exchange.fault, self._exchange.detail = fault, detail
        raise httpx2.SSEError(f"No answer: {fault}.")

    async def _next(self, chunks: AsyncGenerator[bytes]) -> bytes | None:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await anext(chunks, None)
        except TimeoutError:
            self._refuse(ToolServerFailure.DEADLINE)
        except (httpcore2.NetworkError, httpcore2.ProtocolError):
            self._exchange.fault = ToolServerFailure.DISCONNECTED
            raise httpx2.ReadError("The connection broke.") from None

    async def aclose(self) -> None:
        """Give the connection back, or close it when the stream was not read to its end."""
        await self._body.close()
