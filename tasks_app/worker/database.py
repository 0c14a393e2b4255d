"""Database work off the event loop: a few private threads, each with its own connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import Error, OperationalError, close_old_connections, connections

from caylex_project.db.outage import is_outage

Params = ParamSpec("Params")
Result = TypeVar("Result")


class DatabaseAway(OperationalError):
    """The database cannot do this now: it is away, read-only, locked, full or overloaded."""


class Database:
    """Runs plain functions on threads; each unit of work starts with a usable connection."""

    def __init__(self, *, threads: int = 4) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="database")

    async def run(
        self, function: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs
    ) -> Result:
        """Return what the function returns; its exceptions come through.

        Raises DatabaseAway where the same may succeed later.
        """

        def unit() -> Result:
            try:
                close_old_connections()
                return function(*args, **kwargs)
            except Error as error:
                if is_outage(error):
                    raise DatabaseAway(str(error)) from error
                raise

        return await asyncio.get_running_loop().run_in_executor(self._pool, unit)

    async def run_with_retry(
        self, function: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs
    ) -> Result:
        """Like `run`, but while the database is away wait and try again, without end.

        For functions that may run twice. The lease bounds the wait: see `lease`.
        """
        pause = 0.1
        while True:
            try:
                return await self.run(function, *args, **kwargs)
            except DatabaseAway:
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)

    def close(self) -> None:
        """End the threads and their connections once the work under way is done."""
        together = threading.Barrier(self._threads)  # so that each thread takes one of these

        def part() -> None:
            connections.close_all()
            together.wait()

        for _ in range(self._threads):
            self._pool.submit(part)
        self._pool.shutdown(wait=False)

    def join(self) -> None:
        """Wait for the threads to end."""
        self._pool.shutdown(wait=True)
