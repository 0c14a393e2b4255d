"""From submit to done, on an idle service: one model call that answers at once.

Real processes: uvicorn with our application, one worker. The clock starts before the POST is sent
and stops when the row says that the task is done, which is looked at every millisecond.
Pickup is from the POST's answer to the request that the model gets.
"""

from __future__ import annotations

import random
import time

import httpx
from django.db import connection

from bench import service, web
from bench.figures import Section, at_most, percentile
from bench.harness import MODEL, Stage


def measure(stage: Stage, *, quick: bool) -> Section:
    """Return percentiles over some runs, one at a time."""
    done, pickup, answered = [], [], []
    with web.running_web(stage) as address, service.workers(stage, count=1):
        with httpx.Client(base_url=address, headers=web.headers(stage)) as client:
            for number in range(10 if quick else 60):
                time.sleep(random.uniform(0.05, 0.15))
                key = f"latency{number}"
                began = time.monotonic()
                answer = client.post(
                    "/api/v1/agent-task",
                    json=web.submission(stage, service.script(steps=1, log=1, id=key)),
                )
                answered.append(time.monotonic())
                task = answer.raise_for_status().json()["task_id"]
                while not _is_done(task):
                    time.sleep(0.001)
                done.append(time.monotonic() - began)
                pickup.append(stage.served("log")[key][0] - answered[-1])
    done, pickup = done[3:], pickup[3:]  # the first ones open connections
    p50, p95 = (percentile(done, share) * 1000 for share in (0.5, 0.95))
    return Section(
        title="Latency: submit to done, idle, over HTTP",
        rows=[
            at_most("submit to done, p50", p50, must=100, aim=25, unit=" ms"),
            at_most("submit to done, p95", p95, must=200, aim=200, unit=" ms"),
        ],
        lines=[
            (
                f"- submit to done: p50 {p50:.1f} ms, p95 {p95:.1f} ms, "
                f"most {max(done) * 1000:.1f} ms, "
                f"{len(done)} runs on {MODEL}"
            ),
            (
                f"- pickup, from the answer to the submit to the model's first request: "
                f"p50 {percentile(pickup, 0.5) * 1000:.1f} ms, "
                f"p95 {percentile(pickup, 0.95) * 1000:.1f} ms"
            ),
        ],
    )


def _is_done(task: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT completed_at FROM tasks_app_agenttask WHERE id = %s", [task])
        return cursor.fetchone()[0] is not None
