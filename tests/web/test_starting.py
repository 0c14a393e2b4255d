"""However uvicorn is started, the requests to our application are limited, or none is served."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from caylex_project.asgi import application
from tests.support.cluster import eventually
from tests.support.fork_server import ROOT
from tests.support.web_process import PATIENCE, answers, read_all

ENDLESS = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 10_000
SERVE = """
import uvicorn
from caylex_project.asgi import application
uvicorn.run(application, port=0, log_level="info", {options})
"""


@contextmanager
def started(*command: str) -> Iterator[tuple[int, list[str]]]:
    """Run `python <command>`; yield the port, 0 where it ended instead, and the lines it wrote."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    lines: list[str] = []
    port = 0
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
            port = int(found[1])
            break
    drain = threading.Thread(target=lambda: lines.extend(process.stderr or ()), daemon=True)
    drain.start()
    try:
        yield port, lines
    finally:
        process.terminate()
        process.wait(PATIENCE)
        drain.join(PATIENCE)
        process.stderr.close()


def asked(port: int, request: bytes) -> bytes:
    """Send a request, as soon as somebody listens: a parent of workers says so before they do."""
    eventually(lambda: listens(port), what="nobody listens")
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        return read_all(connection)


def listens(port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
        return True
    return False


UVICORN = ("-m", "uvicorn", "caylex_project.asgi:application", "--port", "0")


@pytest.mark.parametrize(
    "command",
    [
        (*UVICORN, "--workers", "2"),
        (*UVICORN, "--http", "httptools", "--loop", "asyncio"),
        (*UVICORN, "--http", "h11", "--lifespan", "on", "--log-level", "trace"),
        (*UVICORN, "--proxy-headers", "--forwarded-allow-ips", "*"),
        ("-c", SERVE.format(options="http='httptools'")),
    ],
    ids=["workers", "httptools", "h11", "proxy headers", "from Python"],
)
def test_the_limits_are_in_force(command: tuple[str, ...]) -> None:
    with started(*command) as (port, lines):
        assert port, "".join(lines)
        [answer] = answers(asked(port, ENDLESS))
        upgrade = b"Connection: close, Upgrade\r\nUpgrade: h2c\r\n"
        alive = asked(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n")

    assert (answer.status, answer.headers["connection"]) == (431, "close")
    assert b"headers_too_large" in answer.body
    assert alive.startswith(b"HTTP/1.1 200 ")


def test_without_a_lifespan_nothing_is_served() -> None:
    with started(*UVICORN, "--lifespan", "off") as (port, lines):
        answer = asked(
            port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert any("server.unguarded" in line for line in lines)


async def test_another_server_is_told_that_it_cannot_serve_this() -> None:
    sent: list[Mapping[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    await application({"type": "lifespan"}, receive, send)

    [message] = sent
    assert message["type"] == "lifespan.startup.failed"
    assert message["message"].startswith("Serve this application with uvicorn")
