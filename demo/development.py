"""The web process and the workers side by side, until one of them ends: `make run`."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
PATIENCE = 60.0  # seconds for the other process to hand its tasks back and end
PAUSE = 0.1  # seconds between two looks


def is_free(port: int) -> bool:
    """Tell whether nobody listens on the port of loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def run(commands: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> int:
    """Keep the processes up until one ends or somebody stops them, and return an exit code.

    Each runs in a session of its own, so that Ctrl-C reaches them as one SIGTERM from here. A
    signal is only noted, so that none can come between the start of a process and its entry.
    """
    stops: list[int] = []
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, _: stops.append(number))
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            processes[name] = subprocess.Popen(
                command, cwd=ROOT, env=environment, start_new_session=True
            )
        while not stops:
            for name, process in processes.items():
                if (code := process.poll()) is not None:
                    print(f"{name} ended with code {code}. Ending the other.", flush=True)
                    return code or 1
            time.sleep(PAUSE)
        return 0
    finally:
        end(processes.values(), stops)


def end(processes: Iterable[subprocess.Popen[bytes]], stops: Sequence[int]) -> None:
    """Ask the processes to end, and kill what still runs after PATIENCE or at another stop."""
    ours = [each for each in processes if each.poll() is None]
    for each in ours:
        each.send_signal(signal.SIGTERM)
    deadline, stopped = time.monotonic() + PATIENCE, len(stops)
    while any(each.poll() is None for each in ours):
        if time.monotonic() > deadline or len(stops) > stopped:
            for each in ours:
                each.kill()
        time.sleep(PAUSE)


def main() -> int:
    """Check the port, say where things are, and run both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    if not is_free(port):
        print(
            f"Port {port} of {HOST} is taken, by `make demo` or another `make run` perhaps. End "
            f"that one, or choose another port: make run PORT={port + 80}",
            file=sys.stderr,
        )
        return 1
    base = f"http://{HOST}:{port}"
    print(f"Web process   {base}   admin {base}/admin/   API docs {base}/api/v1/docs")
    print("Workers       listen on no port")
    print("Press Ctrl-C to end both.", flush=True)
    uvicorn = str(Path(sys.executable).with_name("uvicorn"))
    return run(
        {
            "The web process": [uvicorn, "caylex_project.asgi:application", "--port", str(port)],
            "The workers": [sys.executable, "manage.py", "qcluster"],
        },
        {**os.environ, "DEBUG": "1"},
    )


if __name__ == "__main__":
    sys.exit(main())
