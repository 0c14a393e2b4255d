"""The bodies that a web process holds: each for a limited time, all within one budget."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from caylex_project.web.limits import BODY_SECONDS, MAX_BODIES, MAX_BODY

Receive = Callable[[], Awaitable[Mapping[str, Any]]]


class BodyTooLarge(Exception):
    """The body went on beyond the limit."""


class BodyTooSlow(Exception):
    """The body was not complete in time."""


class NoRoom(Exception):
    """The bodies held exceed the budget, and this one gave way."""


class Uploads:
    """Reads bodies.

    Where all of them exceed the budget, the one that was begun first and is not complete gives way:
    those that are sent at once are never the first for long.
    """

    def __init__(
        self, *, seconds: float = BODY_SECONDS, largest: int = MAX_BODY, most: int = MAX_BODIES
    ) -> None:
        self._seconds = seconds
        self._largest = largest
        self._most = most
        self._held = 0  # bytes
        self._unfinished: dict[asyncio.Timeout, bytearray] = {}

    @asynccontextmanager
    async def body(
        self, receive: Receive, *, largest: int | None = None
    ) -> AsyncIterator[bytes | None]:
        """Yield the whole body, and count it until the block ends; None where the client left.

        `largest` is the limit of this one body, where it has another than all. Raises
        BodyTooLarge as soon as too much has come, BodyTooSlow and NoRoom.
        """
        parts = bytearray()
        size = 0
        try:
            try:
                complete = await self._read(receive, parts, largest or self._largest)
            finally:
                size = len(parts)
            whole = bytes(parts) if complete else None
            parts.clear()
            yield whole
        finally:
            self._held -= size

    async def _read(self, receive: Receive, body: bytearray, largest: int) -> bool:
        gave_way = False
        try:
            async with asyncio.timeout(self._seconds) as time:
                self._unfinished[time] = body
                try:
                    return await self._read_all(receive, time, largest)
                finally:
                    gave_way = self._unfinished.pop(time, None) is None
        except TimeoutError:
            raise (NoRoom if gave_way else BodyTooSlow) from None

    async def _read_all(self, receive: Receive, time: asyncio.Timeout, largest: int) -> bool:
        body = self._unfinished[time]
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return False
            part = message.get("body", b"")
            body += part
            self._held += len(part)
            if len(body) > largest:
                raise BodyTooLarge
            if self._held > self._most:
                self._make_room(time)
            if not message.get("more_body", False):
                return True

    def _make_room(self, own: asyncio.Timeout) -> None:
        """End the reading of the oldest until the rest is within the budget.

        Raises NoRoom where the caller's own is the oldest.
        """
        excess = self._held - self._most
        while excess > 0:
            oldest = next(iter(self._unfinished), own)
            if oldest is own:
                raise NoRoom
            excess -= len(self._unfinished.pop(oldest))
            if not oldest.expired():
                oldest.reschedule(asyncio.get_running_loop().time())
