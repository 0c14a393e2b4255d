"""Our web process under measurement, and the load that is put on it."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from bench.harness import Stage
from bench.processes import OURS, read_line, running, wait_until


@contextlib.contextmanager
def running_web(stage: Stage) -> Iterator[str]:
    """Run one uvicorn process as the documentation says; yields its address."""
    with web_process(stage) as (address, _):
        yield address


@contextlib.contextmanager
def web_process(stage: Stage) -> Iterator[tuple[str, int]]:
    """Run one uvicorn process; yields its address and its process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = (OURS, "-m", "uvicorn", "caylex_project.asgi:application")
    options = ("--host", "127.0.0.1", "--port", str(port), "--no-access-log")
    with running(*command, *options, log=stage.log) as process:
        wait_until(lambda: _listens(port), what="the web process", every=0.05)
        yield f"http://127.0.0.1:{port}", process.pid


def headers(stage: Stage) -> dict[str, str]:
    """Return what each request of the platform carries."""
    return {"Authorization": f"Bearer {stage.keys['plain']['platform_access_token']}"}


def submission(stage: Stage, prompt: str) -> dict[str, Any]:
    """Return the body of a submit."""
    return {
        "caylex_api_key": stage.keys["plain"]["caylex_api_key"],
        "user_email": "jane@example.com",
        "prompt": prompt,
    }


def load(
    stage: Stage,
    address: str,
    paths: list[str],
    *,
    method: str = "GET",
    body: Any = None,
    known: str = "",
    connections: int = 32,
    seconds: float = 5.0,
) -> dict[str, Any]:
    """Ask as fast as the web process answers, from a process of its own; return what it saw.

    `known` is what the callers say that they have seen.
    """
    order = {
        "host": urlsplit(address).hostname,
        "port": urlsplit(address).port,
        "method": method,
        "paths": paths,
        "headers": {**headers(stage), **({"If-None-Match": known} if known else {})},
        "body": json.dumps(body) if body is not None else "",
        "connections": connections,
        "seconds": seconds,
    }
    with running(sys.executable, "-m", "bench.load", log=stage.log) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        seen: dict[str, Any] = json.loads(read_line(process, what="the load"))
    return seen


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
