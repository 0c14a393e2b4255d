"""A fork server: run our commands without loading the same libraries for each of them.

A process of its own loads what is not ours, and forks for every command; the fork then runs it as
`python` would, with the environment, the folder and the exit code of a process of its own. Most of
what a command takes until it works is spared, and a suite starts hundreds.

    process = start("manage.py", "qcluster", environment=variables, new_session=True)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(5) == -signal.SIGKILL
"""

from __future__ import annotations

import array
import atexit
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any, Protocol

ROOT = Path(__file__).resolve().parent.parent.parent
LARGEST = 1 << 17  # bytes of an order: an environment is a few kB
# What the commands load before they do anything, and what may be loaded without settings.
LIBRARIES = (
    *("aiohttp", "cryptography.fernet", "dj_database_url", "httpx", "jsonschema_rs", "markdown_it"),
    *("mcp.client.session", "mcp.client.streamable_http", "prometheus_client", "psutil"),
    *("psycopg", "psycopg_pool", "pydantic_settings", "sqlparse", "stamina", "structlog"),
    *("uvicorn", "uvicorn.protocols.http.httptools_impl", "yaml"),
    *("django.core.management.commands.migrate", "django.core.management.commands.check"),
    *("django.db.backends.postgresql.base", "django.db.backends.sqlite3.base"),
    *("django.forms", "django.template", "django.urls"),
)


class Process(Protocol):
    """The part of `subprocess.Popen` that our tests use."""

    @property
    def pid(self) -> int: ...

    @property
    def stderr(self) -> IO[str] | None: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int, /) -> None: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class Forked:
    """A process that the server forked and reaps; its exit code comes through a pipe."""

    def __init__(self, *, pid: int, end_fd: int, stderr: IO[str] | None) -> None:
        self.pid = pid
        self.stderr = stderr
        self._end_fd = end_fd
        self._code: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code; raises subprocess.TimeoutExpired after so many seconds."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return code

    def send_signal(self, sig: int) -> None:
        """Signal it, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        if self._code is None and select.select([self._end_fd], [], [], timeout)[0]:
            with self._lock:
                if self._code is None:
                    self._code = int(os.read(self._end_fd, 16))
                    os.close(self._end_fd)
        return self._code


def start(
    *command: str,
    environment: Mapping[str, str] | None = None,
    new_session: bool = False,
    stdout: int | None = None,
    stderr: int | None = None,
) -> Forked:
    """Run `python <command>` (a file, or `-m` and a module).

    `environment` is all that it gets, our own when None. `stdout` and `stderr` are descriptors;
    without one, what it prints goes nowhere, and its errors come through a pipe.
    """
    order = {
        "command": command,
        "environment": dict(os.environ if environment is None else environment),
        "new_session": new_session,
    }
    errors, theirs = os.pipe() if stderr is None else (None, os.dup(stderr))
    end, end_of_server = os.pipe()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    pid = _server().fork(order, [end_of_server, theirs, nowhere if stdout is None else stdout])
    for each in (theirs, end_of_server, nowhere):
        os.close(each)
    return Forked(pid=pid, end_fd=end, stderr=None if errors is None else open(errors))


def run(*command: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `python <command>` to its end, and return what it said."""
    with tempfile.TemporaryFile("w+") as printed:
        process = start(*command, environment=environment, stdout=printed.fileno())
        assert process.stderr is not None
        with process.stderr:
            said = process.stderr.read()
        code = process.wait()
        printed.seek(0)
        return subprocess.CompletedProcess(list(command), code, printed.read(), said)


class _Server:
    """This side of the server: one order at a time, each answered with a pid."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())],
            cwd=ROOT,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()

    def fork(self, order: Mapping[str, Any], descriptors: Iterable[int]) -> int:
        with self._lock:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
            self._orders.sendmsg([json.dumps(order).encode()], [rights])
            return int(self._orders.recv(16))

    def end(self) -> None:
        self._orders.close()
        self._process.wait()


@cache
def _server() -> _Server:
    server = _Server()
    atexit.register(server.end)
    return server


def _serve(orders: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork for each order and tell each end; return in the child, with its order."""
    ends: dict[int, int] = {}
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([orders.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 1024)
            _tell_ends(ends)
        if orders.fileno() in ready:
            message, descriptors, _, _ = socket.recv_fds(orders, LARGEST, 3)
            if not message:  # the tests are over, or were killed
                for pid in ends:
                    os.kill(pid, signal.SIGKILL)
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                return json.loads(message), descriptors
            ends[pid] = descriptors[0]
            for each in descriptors[1:]:
                os.close(each)
            orders.send(str(pid).encode())


def _tell_ends(ends: dict[int, int]) -> None:
    while ends:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with open(ends.pop(pid), "w") as end:
            end.write(str(os.waitstatus_to_exitcode(status)))


def _become(order: Mapping[str, Any], stdout: int, stderr: int) -> None:
    """Be the process that was ordered, and run its command."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if order["new_session"]:
        os.setsid()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.closerange(3, 1024)
    os.environ.clear()
    os.environ.update(order["environment"])
    first, *rest = order["command"]
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


def _main() -> None:
    for each in LIBRARIES:
        importlib.import_module(each)
    orders = socket.socket(fileno=int(sys.argv[1]))
    order, (_, stderr, stdout) = _serve(orders)
    orders.detach()
    _become(order, stdout, stderr)


if __name__ == "__main__":
    _main()
