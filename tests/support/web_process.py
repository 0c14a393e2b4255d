"""The web process, as it runs in production: uvicorn, on a port of the loopback."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import fork_server
from tests.support.fork_server import Process

PATIENCE = 30.0  # seconds until a test gives up; never how long something should take


class Web:
    """A running web process and what it has written so far."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.port = 0
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def peak_memory(self) -> int:
        """The most memory that it ever held, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024

    def wait_until_ready(self) -> None:
        """Wait until it listens."""
        if not self._ready.wait(PATIENCE) or not self.port:
            raise AssertionError("no web process:\n" + "\n".join(self.lines))

    def connect(self) -> socket.socket:
        """Return a fresh connection; its reads give up after PATIENCE."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def ask(self, request: bytes) -> bytes:
        """Send raw bytes and return all that comes until the other side closes."""
        with self.connect() as connection:
            connection.sendall(request)
            return read_all(connection)

    def stop(self) -> None:
        """End it and what it writes."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(PATIENCE)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                self._ready.set()
        self._ready.set()


def read_all(connection: socket.socket) -> bytes:
    """Read until the other side closes, or resets after its answer."""
    parts = []
    while True:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def read_one(connection: socket.socket) -> bytes:
    """Read one answer that tells its length, and leave the connection as it is."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = connection.recv(65536)
        assert part, answer
        answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    assert found, head
    while len(body) < int(found[1]):
        part = connection.recv(65536)
        assert part, answer
        body += part
    return head + b"\r\n\r\n" + body


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def request_id(self) -> str:
        """To which request it is."""
        return self.headers["x-request-id"]


def answers(raw: bytes) -> list[Answer]:
    """Return the answers that stand in the bytes, the last of them whole; none is to a HEAD."""
    found: list[Answer] = []
    while raw:
        head, blank, rest = raw.partition(b"\r\n\r\n")
        assert blank, raw
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        assert first.startswith("HTTP/1.1 "), first
        length = int(headers["content-length"])
        assert len(rest) >= length, raw
        found.append(Answer(status=int(first.split()[1]), headers=headers, body=rest[:length]))
        raw = rest[length:]
    return found


@contextmanager
def running_web(*, database: str | None = None, **environment: str) -> Iterator[Web]:
    """Run uvicorn on our application; end it afterwards."""
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
    if database is not None:
        variables["DATABASE_URL"] = database
    process = fork_server.start(
        *("-m", "uvicorn", "caylex_project.asgi:application"),
        *("--host", "127.0.0.1", "--port", "0"),
        environment=variables,
    )
    web = Web(process)
    try:
        web.wait_until_ready()
        yield web
    finally:
        web.stop()
