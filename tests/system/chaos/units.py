"""The two `manage.py qcluster`, kept as a service manager keeps them: always started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks_app.worker.process import identity
from tests.support.cluster import children_of, started_at
from tests.support.fork_server import ROOT

RESTART_PAUSE = 0.5  # seconds between an end and the next start


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that cannot be taken for a later one with its pid."""

    pid: int
    started: str

    @property
    def lives(self) -> bool:
        """Whether it still runs."""
        return identity.is_alive(pid=self.pid, pid_started=self.started)

    def send(self, number: signal.Signals) -> bool:
        """Signal it; False when it has ended."""
        if not self.lives:
            return False
        os.kill(self.pid, number)
        return True


class Unit:
    """One parent and its small clusters, in a process group and with a log of its own."""

    def __init__(self, *, name: str, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self.exit_codes: list[int] = []
        self.seen: set[Process] = set()
        self._environment = environment
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process = self._start()
        self._keeper = threading.Thread(target=self._keep, name=name, daemon=True)
        self._keeper.start()

    @property
    def parent(self) -> Process | None:
        """The parent, or None between two of them."""
        with self._lock:
            running = self._process.poll() is None
            pid = self._process.pid
        return Process(pid=pid, started=started_at(pid)) if running else None

    def workers(self) -> list[Process]:
        """Return the small clusters that live."""
        with self._lock:
            pid = self._process.pid
        found = [Process(pid=child, started=started_at(child)) for child in children_of(pid)]
        living = [each for each in found if each.started]
        self.seen.update(living)
        return living

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the parent and all below it."""
        with self._lock:
            if self._process.poll() is None:
                os.killpg(self._process.pid, number)

    def stop(self, *, patience: float) -> int | None:
        """Ask it to drain and let it rest; return its exit code, None when it did not end."""
        self._stopping.set()
        self.workers()
        with self._lock:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
        self._keeper.join(patience)
        return None if self._keeper.is_alive() else self.exit_codes[-1]

    def destroy(self) -> None:
        """Leave nothing behind."""
        self._stopping.set()
        self.workers()
        with self._lock:
            if self._process.poll() is None:
                self._process.kill()
        self._keeper.join(10)
        for each in self.seen:
            each.send(signal.SIGKILL)

    def survivors(self) -> list[int]:
        """Return the pids of all small clusters ever seen that still run."""
        return sorted(each.pid for each in self.seen if each.lives)

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "manage.py", "qcluster"],
                cwd=ROOT,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _keep(self) -> None:
        while True:
            self.exit_codes.append(self._process.wait())
            if self._stopping.is_set():
                return
            time.sleep(RESTART_PAUSE)
            with self._lock:
                if not self._stopping.is_set():
                    self._process = self._start()
                    continue
            return


def marked_processes(mark: str) -> list[int]:
    """Return the pids of all living processes whose environment holds `mark`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if mark.encode() in environment.split(b"\0"):
                found.append(int(entry.name))
    return sorted(found)
