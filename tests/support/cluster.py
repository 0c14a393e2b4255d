"""A real `manage.py qcluster` against the test database, for tests to kill.

The test needs `django_db(transaction=True)`: another process sees only what is committed.

    with running_cluster() as cluster:
        cluster.wait_for(r"stub (\\d+) started")
        os.kill(cluster.children()[0], signal.SIGKILL)
        assert cluster.stop() == 0
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from django.db import connection

from tasks_app.worker.process import identity
from tests.support import fork_server
from tests.support.fork_server import Process

PATIENCE = 30.0  # seconds until a test gives up; never how long something should take

Result = TypeVar("Result")


class NeverHappened(AssertionError):
    """What was waited for did not come; the message holds the cluster's log."""


class Cluster:
    """A running parent, in a process group of its own, and what it and its children said."""

    def __init__(self, *, process: Process) -> None:
        self.process = process
        self.pid = process.pid
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._at_end = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._seen: dict[int, str] = {}

    @property
    def log(self) -> str:
        """All that was said so far."""
        with self._news:
            return "\n".join(self.lines)

    def wait_for(self, pattern: str, *, count: int = 1) -> list[re.Match[str]]:
        """Wait until at least `count` lines hold the pattern, and return those matches."""

        def matches() -> list[re.Match[str]]:
            found = [match for line in self.lines if (match := re.search(pattern, line))]
            return found if len(found) >= count else []

        with self._news:
            self._news.wait_for(lambda: matches() or self._at_end, PATIENCE)
            found = matches()
        if not found:
            raise NeverHappened(f"{count} x {pattern!r} in:\n{self.log}")
        return found

    def children(self) -> list[int]:
        """Return the pids of the small clusters that live."""
        found = children_of(self.pid)
        for pid in found:
            self._seen.setdefault(pid, started_at(pid))
        return found

    def wait_for_children(self, count: int, *, other_than: tuple[int, ...] = ()) -> list[int]:
        """Wait until `count` small clusters live of which none is in `other_than`."""

        def enough() -> list[int]:
            found = self.children()
            return found if len(found) == count and not {*found} & {*other_than} else []

        return eventually(enough, what=f"{count} small clusters", log=lambda: self.log)

    def survivors(self) -> list[int]:
        """Return those children, of all that were ever looked at, that still run."""
        return [
            pid
            for pid, started in self._seen.items()
            if identity.is_alive(pid=pid, pid_started=started)
        ]

    def send(self, number: signal.Signals) -> None:
        """Signal the parent alone."""
        self.process.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Signal the parent and all its children, as service managers and terminals do."""
        os.killpg(self.pid, number)

    def wait(self) -> int:
        """Wait for the parent's end and return its exit code (negative: the signal)."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise NeverHappened(f"the end of the parent, in:\n{self.log}") from None
        self._reader.join(PATIENCE)
        return code

    def stop(self) -> int:
        """Ask it to drain, wait, and return the exit code."""
        self.children()
        self.send(signal.SIGTERM)
        return self.wait()

    def destroy(self) -> None:
        """Leave nothing behind."""
        self.children()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pid in self.survivors():
            os.kill(pid, signal.SIGKILL)
        self._reader.join(PATIENCE)
        if self.process.stderr is not None:
            self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._at_end = True
            self._news.notify_all()


@contextmanager
def running_cluster(
    *arguments: str,
    settings: str = "caylex_project.settings",
    database: str | None = None,
    **environment: str,
) -> Iterator[Cluster]:
    """Run `manage.py qcluster` with these arguments and variables; kill it at the end."""
    variables = {
        **os.environ,
        "DATABASE_URL": database or database_url(),
        "DJANGO_SETTINGS_MODULE": settings,
        "PYTHONUNBUFFERED": "1",
        "CAYLEX_WORKERS": "2",
        **environment,
    }
    process = fork_server.start(
        "manage.py", "qcluster", *arguments, environment=variables, new_session=True
    )
    cluster = Cluster(process=process)
    try:
        yield cluster
    finally:
        cluster.destroy()


def database_url() -> str:
    """Return the address of the database that this test's own connection uses."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        if not Path(name).is_file():
            raise RuntimeError("Another process cannot see a test database in memory.")
        return f"sqlite:///{name}"
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


def eventually(
    look: Callable[[], Result], *, what: str, log: Callable[[], str] = lambda: ""
) -> Result:
    """Look every few milliseconds until it is true, and return what was seen then."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        seen = look()
        if seen:
            return seen
        time.sleep(0.02)
    raise NeverHappened(f"{what}, in:\n{log()}")


def children_of(pid: int) -> list[int]:
    """Return the pids of the living children of a process, oldest first."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            state, parent, started = _stat(int(entry.name))
            if parent == pid and state != "Z":
                found.append((int(started), int(entry.name)))
    return [child for _, child in sorted(found)]


def started_at(pid: int) -> str:
    """Return when a process began, as `identity` tells it; empty when it has ended."""
    return _stat(pid)[2]


def _stat(pid: int) -> tuple[str, int, str]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return "Z", 0, ""
    return fields[0], int(fields[1]), fields[19]
