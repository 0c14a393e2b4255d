"""The connections that the web process borrows from its pool."""

from __future__ import annotations

from typing import Any

import psycopg


class PooledConnection(psycopg.Connection[Any]):
    """A connection that, when it is found dead, has its pool replace all that wait there.

    The pool looks at a connection by `execute("")` before it lends it. Where that fails it takes
    the next one, but pauses 0, 1, 2, 4 seconds in between: after a restart of the database, when
    all are dead, five of them would cost a request more than its patience.
    """

    def execute(self, *args: Any, **kwargs: Any) -> psycopg.Cursor[Any]:
        """Run a statement; Django's own go through cursors."""
        try:
            return super().execute(*args, **kwargs)
        except psycopg.OperationalError:
            pool = getattr(self, "_pool", None)
            if pool is not None:
                pool.drain()
            raise
