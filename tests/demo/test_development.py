"""`make run`: both processes or neither, on a port that nobody else has."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from demo.run import free_port
from tests.support.cluster import database_url

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 60.0  # seconds until a test gives up
COMMAND = [sys.executable, "-m", "demo.development", "--port"]
STUBS = """
import os, sys
from demo.development import run
lives = [sys.executable, "-c", "import time; time.sleep(300)"]
ends = [sys.executable, "-c", "import sys, time; sys.stdin.read(); sys.exit({code})"]
print("started", flush=True)
sys.exit(run({{"One": lives, "Other": ends if {code} is not None else lives}}, os.environ))
"""


def started(command: list[str], **environment: str) -> subprocess.Popen[str]:
    """Start a command of ours in a session of its own."""
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def until(happened: Callable[[], bool]) -> None:
    """Wait for it, and fail when it takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in text.split()]


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.django_db(transaction=True)
def test_the_workers_end_when_the_web_process_does() -> None:
    port = free_port()
    process = started([*COMMAND, str(port)], DEBUG="1", DATABASE_URL=database_url())
    until(lambda: answers(port))
    until(lambda: len(children(process.pid)) == 2)
    both = children(process.pid)
    [web] = [each for each in both if "uvicorn" in command_of(each)]

    os.kill(web, signal.SIGTERM)
    said, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode != 0
    assert f"Web process   http://127.0.0.1:{port}" in said
    assert "Workers       listen on no port" in said
    assert "The web process ended with code" in said
    assert [each for each in both if lives(each)] == []
    assert not answers(port)


@pytest.mark.parametrize(("code", "expected"), [(0, 1), (3, 3)])
def test_both_end_when_either_does(code: int, expected: int) -> None:
    process = started([sys.executable, "-c", STUBS.format(code=code)])
    until(lambda: len(children(process.pid)) == 2)
    both = children(process.pid)

    said, _ = process.communicate("", timeout=PATIENCE)

    assert process.returncode == expected
    assert f"Other ended with code {code}. Ending the other." in said
    assert [each for each in both if lives(each)] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_both_and_is_no_failure(number: signal.Signals) -> None:
    process = started([sys.executable, "-c", STUBS.format(code=None)])
    until(lambda: len(children(process.pid)) == 2)
    both = children(process.pid)

    process.send_signal(number)
    process.communicate(timeout=PATIENCE)

    assert process.returncode == 0
    assert [each for each in both if lives(each)] == []


def test_a_port_that_is_taken_is_a_sentence_and_nothing_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        done = subprocess.run(
            [*COMMAND, str(port)], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
        )

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"Port {port} of 127.0.0.1 is taken, by `make demo` or another `make run` perhaps. End "
        f"that one, or choose another port: make run PORT={port + 80}\n"
    )
