"""The connections that the web process borrows from its pool."""

from __future__ import annotations

import datetime
import select
import time
from typing import Any

import psycopg

from caylex_project.db.clock import clock

FRESH = 1.0  # seconds for which a connection that answered is taken to be alive while it is silent


class PooledConnection(psycopg.Connection[Any]):
    """A connection that is looked at cheaply, and found dead has its pool replace all that wait.

    The pool looks at a connection by `execute("")` before it lends it, which costs a journey to
    the database: one on which the database's clock is read, too. A connection that answered a
    moment ago needs none: where the server has closed it since, its socket has something to read.

    Where the look fails the pool takes the next one, but pauses 0, 1, 2, 4 seconds in between:
    after a restart of the database, when all are dead, five of them would cost a request more
    than its patience.
    """

    _answered = 0.0

    def execute(self, *args: Any, **kwargs: Any) -> psycopg.Cursor[Any]:
        """Run a statement; Django's own go through cursors."""
        look = args == ("",)
        if look and self._was_alive_just_now() and clock.is_fresh:
            return self.cursor()
        try:
            cursor = self._look() if look else super().execute(*args, **kwargs)
        except psycopg.OperationalError:
            pool = getattr(self, "_pool", None)
            if pool is not None:
                pool.drain()
            raise
        self._answered = time.monotonic()
        return cursor

    def _look(self) -> psycopg.Cursor[Any]:
        """Ask something that needs no table: what time it is."""
        cursor = self.cursor()

        def read() -> datetime.datetime:
            found = cursor.execute("SELECT clock_timestamp()").fetchone()
            assert found is not None
            moment: datetime.datetime = found[0]
            return moment

        clock.measure(read)
        return cursor

    def _was_alive_just_now(self) -> bool:
        if time.monotonic() - self._answered > FRESH or self.closed:
            return False
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
        return not poll.poll(0)
