"""The threads on which Django answers: some for each kind of request, and a wait that ends.

A kind that is dear, or that waits for the database, uses up its own threads and not another's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from caylex_project.web.limits import MAX_WAITING, WAIT_SECONDS, WAIT_SECONDS_IN_OUTAGE

PATIENCE = "caylex_project.patience"  # where a scope says how many seconds its caller waits
OUTAGE_SECONDS = 5.0  # for which the database is taken to be away after an answer of 503
_LOOK_SECONDS = 0.25  # between two looks at who has waited too long

Result = TypeVar("Result")


class Busy(Exception):
    """No thread was free in time; `in_outage` where the database did not answer before."""

    def __init__(self, *, in_outage: bool) -> None:
        super().__init__(in_outage)
        self.in_outage = in_outage


class ClientGone(Exception):
    """The client left before a thread was free, so nothing was done."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Place:
    """One that waits."""

    turn: asyncio.Future[None]
    since: float
    patience: float  # seconds
    is_gone: Callable[[], bool]


class Lane:
    """A few threads and those who wait for them, served in their order; of one event loop."""

    def __init__(self, name: str, *, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"django-{name}")
        self._free = threads
        self._waiting: deque[_Place] = deque()
        self._look: asyncio.TimerHandle | None = None
        self._outage_until = 0.0

    async def run(
        self,
        work: Callable[[], Result],
        *,
        is_gone: Callable[[], bool],
        patience: float = WAIT_SECONDS,
    ) -> Result:
        """Return what `work` returns, called on a thread of this lane.

        Raises Busy after `patience` seconds without a thread, or a shorter time while the database
        does not answer, and ClientGone where `is_gone` says so when a thread is free.
        """
        await self._enter(is_gone=is_gone, patience=patience)
        try:
            return await self.run_at_once(work)
        finally:
            self._leave()

    async def run_at_once(self, work: Callable[[], Result]) -> Result:
        """Return what `work` returns, called before those who wait get their turn."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, work)

    def submit(self, work: Callable[[], object]) -> None:
        """Have something done soon."""
        self._pool.submit(work)

    def note(self, status: int) -> None:
        """Take notice of an answer: 503 says that the database does not answer."""
        if status == 503:
            self._outage_until = asyncio.get_running_loop().time() + OUTAGE_SECONDS

    async def _enter(self, *, is_gone: Callable[[], bool], patience: float) -> None:
        if self._free:
            self._free -= 1
            return
        loop = asyncio.get_running_loop()
        if len(self._waiting) >= MAX_WAITING:
            raise Busy(in_outage=self._in_outage(loop.time()))
        turn = loop.create_future()
        place: _Place = _Place(turn=turn, since=loop.time(), patience=patience, is_gone=is_gone)
        self._waiting.append(place)
        if self._look is None:
            self._look = loop.call_later(_LOOK_SECONDS, self._dismiss)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._leave()
            raise

    def _leave(self) -> None:
        """Give the thread to the next who still wants it."""
        while self._waiting:
            place = self._waiting.popleft()
            if place.turn.done():
                continue
            if not place.is_gone():
                place.turn.set_result(None)
                return
            place.turn.set_exception(ClientGone())
        self._free += 1

    def _dismiss(self) -> None:
        """Send away who has waited too long."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        in_outage = self._in_outage(now)
        staying = deque[_Place]()
        for place in self._waiting:
            patience = min(place.patience, WAIT_SECONDS_IN_OUTAGE) if in_outage else place.patience
            if place.turn.done():
                continue
            if place.is_gone():
                place.turn.set_exception(ClientGone())
            elif now - place.since >= patience:
                place.turn.set_exception(Busy(in_outage=in_outage))
            else:
                staying.append(place)
        self._waiting = staying
        self._look = loop.call_later(_LOOK_SECONDS, self._dismiss) if staying else None

    def _in_outage(self, now: float) -> bool:
        return now < self._outage_until
