"""The database's clock as a process knows it: moments that processes compare come from it alone.

A process measures now and then how far its monotonic clock is from the database's clock, and counts
from there. So a machine whose clock is wrong, or is set while the process runs, ends no run too
early and shortens no wait. Until the first measurement it is the machine's own clock.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass

DRIFT = 0.001  # by how much two clocks may run apart, as a share of the time that passes
FRESH_SECONDS = 30.0  # after which a web process measures again


def _own() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True, slots=True)
class _Known:
    offset: float  # POSIX seconds of the database's clock less the monotonic clock's
    error: float  # by which it may be wrong, in seconds
    at: float  # monotonic


class DatabaseClock:
    """Tells the database's time without asking it. Safe to share between threads."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        own: Callable[[], datetime.datetime] = _own,
    ) -> None:
        self._monotonic = monotonic
        self._own = own
        self._known: _Known | None = None

    def now(self) -> datetime.datetime:
        """Return the time, in UTC."""
        known = self._known
        if known is None:
            return self._own()
        return datetime.datetime.fromtimestamp(known.offset + self._monotonic(), datetime.UTC)

    @property
    def is_fresh(self) -> bool:
        """True when it was measured within FRESH_SECONDS."""
        known = self._known
        return known is not None and self._monotonic() - known.at < FRESH_SECONDS

    @property
    def ahead_of_own(self) -> float:
        """By how many seconds the database's clock is ahead of this machine's."""
        return (self.now() - self._own()).total_seconds()

    def measure(self, read: Callable[[], datetime.datetime]) -> None:
        """Ask the database for its time and learn from the answer."""
        before = self._monotonic()
        theirs = read()
        self._learn(theirs, before=before, after=self._monotonic())

    def _learn(self, theirs: datetime.datetime, *, before: float, after: float) -> None:
        """Keep a measurement unless a better one says the same.

        The answer may have been made at any moment between `before` and `after`. A slow answer that
        agrees with what is known is dropped; one that does not means that the clock was set.
        """
        error = (after - before) / 2
        offset = theirs.timestamp() - (before + after) / 2
        known = self._known
        if known is not None:
            grown = known.error + DRIFT * (after - known.at)
            if error > grown and abs(offset - known.offset) <= error + grown:
                return
        self._known = _Known(offset=offset, error=error, at=after)


clock = DatabaseClock()
