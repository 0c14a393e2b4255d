"""The processes of a bench: started in a group of their own, ended by their id."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.machine import children_of

ROOT = Path(__file__).resolve().parent.parent
OURS = str(ROOT / "bench/.venv-ours/bin/python")  # with requirements/runtime.lock and no more
PATIENCE = 60.0  # seconds until a bench gives up


@contextlib.contextmanager
def running(
    *command: str, environment: Mapping[str, str] | None = None, log: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a program with its input and output as pipes; end it afterwards."""
    errors = (log or Path(os.devnull)).open("a")
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {}), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        errors.close()
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Ask a process to end; kill it when it does not."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        for child in children_of(process.pid):
            os.kill(child, 9)
        process.kill()
        process.wait()


def read_line(process: subprocess.Popen[str], *, what: str) -> str:
    """Return the next line that a process prints. Raises RuntimeError when it has ended."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{what} has ended")
    return line


class Peer:
    """A peer's script, kept running between its turns."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self._process = process
        read_line(process, what=name)  # it is ready

    def run(self, **order: Any) -> dict[str, float]:
        """Carry out one order; return its seconds, cpu and rss."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        figures: dict[str, float] = json.loads(read_line(self._process, what=self.name))
        return figures


def manage(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run a management command to its end and return what it printed."""
    done = subprocess.run(
        [OURS, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout


def wait_until(look: Any, *, what: str, every: float = 0.01, patience: float = PATIENCE) -> Any:
    """Look until it is true, and return what was seen. Raises RuntimeError."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if seen := look():
            return seen
        time.sleep(every)
    raise RuntimeError(f"{what}: not within {patience:g} seconds")
