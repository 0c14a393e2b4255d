"""A worker's machine has a wrong clock: runs, waits, stamps and ends are as with the right one.

On PostgreSQL alone: with SQLite there is one machine, and so one clock.
"""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from tasks_app.models import AgentTask, Event, Step, WebhookDelivery, WebhookEndpoint
from tasks_app.states import DeliveryState, Status
from tasks_app.webhooks.secrets import make_secret
from tests.support.cluster import Cluster, database_url
from tests.support.fork_server import ROOT
from tests.support.model_server import Recorded, Reply, plain
from tests.system.faults.harness import Stage, until

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not LIBRARIES, reason="needs libfaketime (Debian: faketime)"),
]

WAIT = 2.0  # seconds before the second attempt
RIGHT = 60.0  # seconds within which two moments are taken to be of one clock


@contextmanager
def running_cluster_with_clock(offset: int) -> Iterator[Cluster]:
    """Run `manage.py qcluster` on a machine whose clock is `offset` seconds ahead."""
    variables = {
        **os.environ,
        "DATABASE_URL": database_url(),
        "DJANGO_SETTINGS_MODULE": "tests.system.faults.settings",
        "FAULTS_WAIT": str(WAIT),
        "CAYLEX_WORKERS": "1",
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME": f"{offset:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "manage.py", "qcluster"],
        cwd=ROOT,
        env=variables,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    cluster = Cluster(process=process)
    try:
        yield cluster
    finally:
        cluster.destroy()


class Receiver(BaseHTTPRequestHandler):
    """Takes every message."""

    seen: list[dict[str, str]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(dict(self.headers))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def receiving() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Serve on the loopback; yields the address and what came."""
    seen: list[dict[str, str]] = []
    handler = type("Handler", (Receiver,), {"seen": seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", seen
        server.shutdown()


def failing_once(stage: Stage) -> None:
    """Let the provider answer each task's first two requests, one attempt, with 503."""
    policy, asked = stage.answer, []

    def answer(request: Recorded) -> Reply:
        asked.append(request)
        if len(asked) <= 2:
            return plain({"error": {"message": "busy"}}, status=503)
        return policy(request)

    stage.answer = answer


@pytest.mark.parametrize("offset", [-400, -120, 120, 400])
def test_a_wrong_clock_ends_no_run_and_shortens_no_wait(stage: Stage, offset: int) -> None:
    stage.play(turns=3)
    failing_once(stage)
    with receiving() as (url, seen):
        make_secret(project=stage.navigator.project)
        WebhookEndpoint.objects.create(project=stage.navigator.project, url=url)
        with running_cluster_with_clock(offset) as cluster:
            until(lambda: "engine.clock_differs" in cluster.log, "the engine", cluster)
            began = timezone.now()
            (task_id,) = stage.submit()
            AgentTask.objects.filter(pk=task_id).update(
                limits={"schema": 1, "max_steps": 50, "max_tool_calls": None, "timeout_seconds": 60}
            )
            (task,) = stage.wait([task_id], cluster)
            delivered = WebhookDelivery.objects.filter(state=DeliveryState.DELIVERED)
            until(delivered.exists, "the delivery", cluster)
            assert cluster.stop() == 0, cluster.log
    stage.check_books([task_id])
    assert (task.status, task.stop_reason) == (Status.COMPLETED, "final_report")
    check_moments(task, began)
    stamp = datetime.datetime.fromtimestamp(int(seen[0]["webhook-timestamp"]), datetime.UTC)
    assert abs((stamp - began).total_seconds()) < RIGHT
    delivery = delivered.get()
    assert delivery.delivered_at is not None
    assert abs((delivery.delivered_at - began).total_seconds()) < RIGHT


def check_moments(task: AgentTask, began: datetime.datetime) -> None:
    """All that was written is of one clock, and the wait was as long as it should be."""
    assert task.started_at is not None
    assert task.completed_at is not None
    assert task.created_at <= task.started_at <= task.completed_at
    assert abs((task.completed_at - began).total_seconds()) < RIGHT
    events = [*Event.objects.filter(task=task).order_by("sequence")]
    assert [each.kind for each in events] == ["started", "waiting", "resumed", "completed"]
    waited = (events[2].at - events[1].at).total_seconds()
    assert 0.7 * WAIT < waited < WAIT + RIGHT
    for step in Step.objects.filter(task=task):
        assert step.started_at <= step.completed_at
        assert abs((step.completed_at - began).total_seconds()) < RIGHT
