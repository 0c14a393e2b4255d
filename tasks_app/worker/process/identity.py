"""Who this process is, and whether another process of this machine still lives."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_PROC = Path("/proc")
_DEAD_STATES = ("Z", "X", "x")  # a zombie has ended, it only waits to be reaped


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A process, so that nobody takes it for a later one with the same pid."""

    host: str
    machine: str  # boot id and pid namespace: where the pid means something
    pid: int
    pid_started: str  # ticks since boot; empty where there is no /proc


def this_process() -> Identity:
    """Return the identity of the calling process. Not to be kept across a fork."""
    pid = os.getpid()
    return Identity(
        host=socket.gethostname(),
        machine=this_machine(),
        pid=pid,
        pid_started=_start_of(pid=pid),
    )


@lru_cache(maxsize=1)
def this_machine() -> str:
    """Return the name of the place in which this process's pids mean something.

    Two containers with one hostname differ in it, and so does a machine from itself after a
    reboot. Without /proc: host name and network address.
    """
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink(_PROC / "self/ns/pid")
    except OSError:
        return f"{socket.gethostname()[:60]}/{uuid.getnode():x}"
    return f"{boot}/{namespace}"


def is_alive(*, pid: int, pid_started: str) -> bool:
    """Tell whether the process that had `pid` and began at `pid_started` still runs.

    Only for pids of this machine. In doubt (no /proc, or a process that we may not look at)
    the answer is True: the lease decides then. Zombies are dead.
    """
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return _accepts_signals(pid=pid)
    state, started = _state_and_start(text)
    if state in _DEAD_STATES:
        return False
    return not pid_started or started == pid_started


def is_dead_process(*, machine: str, pid: int, pid_started: str) -> bool:
    """Tell whether a process surely ran on this machine and surely has ended."""
    return machine == this_machine() and not is_alive(pid=pid, pid_started=pid_started)


def _start_of(*, pid: int) -> str:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return ""
    return _state_and_start(text)[1]


def _state_and_start(text: str) -> tuple[str, str]:
    """Return fields 3 and 22 of proc(5)'s stat; the name before them may hold anything."""
    fields = text.rpartition(")")[2].split()
    return fields[0], fields[19]


def _accepts_signals(*, pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
