"""Database work off the event loop: a few private threads, each with its own connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import (
    InterfaceError,
    InternalError,
    OperationalError,
    close_old_connections,
    connection,
    connections,
)

Params = ParamSpec("Params")
Result = TypeVar("Result")

LOST = (OperationalError, InterfaceError)  # the connection, not the statement, is at fault
STOOD_STILL = "25P03"  # the server ended the session: see `end_idle_transactions`


def end_idle_transactions(*, seconds: float) -> None:
    """Have the server end a session of this process that stands still within a transaction.

    A process that is frozen there, or whose machine is gone, keeps its locks: on its own
    Worker row, which would keep every sweep from freeing its tasks. For connections that are
    yet to be made; PostgreSQL alone, SQLite's locks end with the process.
    """
    if connection.vendor == "postgresql":
        options = connection.settings_dict.setdefault("OPTIONS", {})
        limit = f"-c idle_in_transaction_session_timeout={int(seconds * 1000)}"
        options["options"] = f"{options.get('options', '')} {limit}".strip()


class Database:
    """Runs plain functions on threads; each unit of work starts with a usable connection."""

    def __init__(self, *, threads: int = 4) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="database")

    async def run(
        self, function: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs
    ) -> Result:
        """Return what the function returns; its exceptions come through."""

        def unit() -> Result:
            close_old_connections()
            try:
                return function(*args, **kwargs)
            except InternalError as error:  # by psycopg's classes, though a connection is lost
                if getattr(error.__cause__, "sqlstate", None) == STOOD_STILL:
                    raise OperationalError(str(error)) from error
                raise

        return await asyncio.get_running_loop().run_in_executor(self._pool, unit)

    async def insist(
        self, function: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs
    ) -> Result:
        """Like `run`, but while the database is away wait and try again, without end.

        For functions that may run twice. The lease bounds the wait: see `lease`.
        """
        pause = 0.1
        while True:
            try:
                return await self.run(function, *args, **kwargs)
            except LOST as error:
                if _is_too_much(error):
                    raise
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


def _is_too_much(error: Exception) -> bool:
    """Tell whether PostgreSQL will never take this, such as a quarter of a gigabyte of JSON.

    Its class 54, "program limit exceeded", comes as an OperationalError too.
    """
    return str(getattr(error.__cause__, "sqlstate", None) or "").startswith("54")
