"""The journal's writer: takes whatever is ready and commits it together.

A quiet worker commits each entry at once; a busy one in groups. Nobody waits for company.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from tasks_app.worker.database import Database
from tasks_app.worker.journal.entries import Entry, Landed
from tasks_app.worker.journal.write import write_entries

BATCH = 64  # tasks in one flush
MAX_TEXT = 8_000_000  # characters of results in one flush, where it holds more than one entry
MAX_CONCURRENT_FLUSHES = 2  # flushes under way at once, so that they overlap on disk

Write = Callable[[Sequence[Entry]], Mapping[uuid.UUID, Landed]]
Notify = Callable[[Iterable[uuid.UUID]], None]
log = structlog.get_logger(__name__)


class Fenced(Exception):
    """The task is no longer ours: somebody took it over. Drop it and touch nothing."""


class Journal:
    """Commits entries, each fenced on its own; a task has at most one entry under way."""

    def __init__(
        self, database: Database, *, write: Write = write_entries, notify: Notify | None = None
    ) -> None:
        self._database = database
        self._write = write
        self._notify = notify  # whom to tell of the tasks that entries landed for
        self._ready: list[tuple[Entry, asyncio.Future[int]]] = []
        self._flushes: set[asyncio.Task[None]] = set()

    async def commit(self, entry: Entry) -> int:
        """Return the task's new sequence once the entry is on disk.

        While the database is away it waits. Raises Fenced when the task is no longer ours, Stopped
        when the entry starts calls and none may be started any more, and what went wrong when it
        cannot be written: DatabaseError where it is refused.
        """
        committed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._ready.append((entry, committed))
        self._start_flush()
        return await asyncio.shield(committed)

    def _start_flush(self) -> None:
        """Start a flush of what is ready while a flight is free."""
        while self._ready and len(self._flushes) < MAX_CONCURRENT_FLUSHES:
            count = _together([entry.size for entry, _ in self._ready[:BATCH]])
            batch, self._ready = self._ready[:count], self._ready[count:]
            flush = asyncio.create_task(self._flush(batch))
            self._flushes.add(flush)
            flush.add_done_callback(self._on_flush_done)

    def _on_flush_done(self, flush: asyncio.Task[None]) -> None:
        self._flushes.discard(flush)
        self._start_flush()

    async def _flush(self, batch: list[tuple[Entry, asyncio.Future[int]]]) -> None:
        """Write a batch until its outcome is known; an entry that is refused fails alone."""
        try:
            outcomes = await self._database.run_with_retry(
                self._write, [entry for entry, _ in batch]
            )
        except Exception as refusal:  # noqa: BLE001  (whatever it is, a driver waits for it)
            if len(batch) > 1:
                log.warning("journal.batch_refused", entries=len(batch))
                for each in batch:
                    await self._flush([each])
            else:
                _settle(batch[0][1], refusal)
            return
        if self._notify is not None:
            self._notify(key for key, outcome in outcomes.items() if isinstance(outcome, int))
        for entry, future in batch:
            _settle(future, outcomes.get(entry.task_id, Fenced(str(entry.task_id))))


def _settle(future: asyncio.Future[int], outcome: Landed | Exception) -> None:
    if future.cancelled():  # its driver was broken off; the rows stand as they stand
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _together(sizes: Sequence[int]) -> int:
    """Return how many of the entries, from the first on, make one flush."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if count and total > MAX_TEXT:
            return count
    return len(sizes)
