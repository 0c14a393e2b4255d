"""The connections that the web process borrows from its pool."""

from __future__ import annotations

import select
import time
from typing import Any

import psycopg

FRESH = 1.0  # seconds for which a connection that answered is taken to be alive while it is silent


class PooledConnection(psycopg.Connection[Any]):
    """A connection that is looked at cheaply, and found dead has its pool replace all that wait.

    The pool looks at a connection by `execute("")` before it lends it, which costs a journey to
    the database. One that answered a moment ago needs none: where the server has closed it since,
    its socket has something to read.

    Where the look fails the pool takes the next one, but pauses 0, 1, 2, 4 seconds in between:
    after a restart of the database, when all are dead, five of them would cost a request more
    than its patience.
    """

    _answered = 0.0

    def execute(self, *args: Any, **kwargs: Any) -> psycopg.Cursor[Any]:
        """Run a statement; Django's own go through cursors."""
        if args == ("",) and self._was_alive_just_now():
            return self.cursor()
        try:
            cursor = super().execute(*args, **kwargs)
        except psycopg.OperationalError:
            pool = getattr(self, "_pool", None)
            if pool is not None:
                pool.drain()
            raise
        self._answered = time.monotonic()
        return cursor

    def _was_alive_just_now(self) -> bool:
        if time.monotonic() - self._answered > FRESH or self.closed:
            return False
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
        return not poll.poll(0)
