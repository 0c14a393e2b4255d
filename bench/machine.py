"""What machine this is, and what its processes use."""

from __future__ import annotations

import os
import platform
import re
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_model() -> str:
    """Return the processor's name."""
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.processor() or "unknown"


def load() -> str:
    """Return the load averages of the last 1, 5 and 15 minutes."""
    return " ".join(Path("/proc/loadavg").read_text().split()[:3])


def busy(seconds: float) -> float:
    """Return the share of the processors that is in use over the next seconds."""
    before = _times()
    time.sleep(seconds)
    after = _times()
    spent = [late - early for early, late in zip(before, after, strict=True)]
    idle = spent[3] + spent[4]  # idle, and idle for want of a disk
    return 1 - idle / sum(spent)


def _times() -> list[int]:
    return [int(each) for each in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid: int) -> int:
    """Return what a process holds in memory now."""
    return _kilobytes(pid, "VmRSS") * 1024


def children_of(pid: int) -> list[int]:
    """Return the living children of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[1] == str(pid) and fields[0] != "Z":
                found.append(int(entry.name))
    return sorted(found)


def _kilobytes(pid: int, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) if found else 0


def own_bytes(pid: int) -> int:
    """Return a process's memory with shared pages divided among those who share them (PSS)."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"Pss:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else 0
