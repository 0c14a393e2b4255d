"""A worker process is killed with -9: how long until its tasks go on.

Two worker processes, 100 tasks of half-second steps. The busier process is killed; for each of the
tasks that it held the time to its next request to the model counts.
"""

from __future__ import annotations

import os
import signal
import time

from django.db import connection

from bench import service
from bench.figures import Section, at_most, median
from bench.harness import Stage
from bench.processes import wait_until

TASKS = 100


def measure(stage: Stage, *, quick: bool) -> Section:
    """Return the worst and the median over some kills."""
    worst, middle = [], []
    lines = []
    for number in range(1 if quick else 3):
        times = _kill_once(stage, f"recovery{number}")
        worst.append(max(times))
        middle.append(median(times))
        lines.append(
            f"- {len(times)} tasks of the killed process: first {min(times):.2f} s, "
            f"median {median(times):.2f} s, last {max(times):.2f} s"
        )
    return Section(
        title="Recovery: a worker killed with -9, time to the next model request of its tasks",
        rows=[
            at_most("killed worker: all its tasks go on", median(worst), must=3, aim=1, unit=" s")
        ],
        lines=lines,
    )


def _kill_once(stage: Stage, prefix: str) -> list[float]:
    with service.workers(stage, count=2):
        keys = [f"{prefix}x{number}" for number in range(TASKS)]
        tasks = service.submit_many(
            [service.script(steps=12, ask="none", delay=0.5, log=1, id=key) for key in keys]
        )
        key_of = dict(zip(map(str, tasks), keys, strict=True))
        wait_until(
            lambda: all(len(stage.served("log").get(key, ())) > 2 for key in keys),
            what="the third step of all",
            every=0.05,
        )
        pid, held = _busiest()
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        service.wait_for(tasks)
        log = stage.served("log")
    return [min(at for at in log[key_of[task]] if at > killed) - killed for task in held]


def _busiest() -> tuple[int, list[str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT w.pid, array_agg(t.id::text) FROM tasks_app_agenttask t "
            "JOIN tasks_app_worker w ON w.id = t.worker_id "
            "WHERE t.status = 'RUNNING' GROUP BY w.pid ORDER BY count(*) DESC LIMIT 1"
        )
        pid, held = cursor.fetchone()
    return pid, held
