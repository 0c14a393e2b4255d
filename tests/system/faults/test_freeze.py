"""A worker process is frozen for longer than its lease, and wakes to find that it is dead."""

from __future__ import annotations

import os
import signal

import pytest

from tasks_app.models import AgentTask, Event, Worker
from tests.support.cluster import running_cluster
from tests.system.faults.harness import Stage, settled, until

pytestmark = pytest.mark.timeout(180)

TASKS = 10
SHORT = {"CAYLEX_LEASE_SECONDS": "3", "CAYLEX_HEARTBEAT_SECONDS": "0.5"}
FENCED = 75


def test_a_worker_frozen_past_its_lease_wakes_writes_nothing_and_ends_itself(stage: Stage) -> None:
    stage.play(think=0.1)
    # A second cluster, so that somebody sweeps on SQLite and in any case can go on.
    with running_cluster(**SHORT) as cluster, running_cluster(**SHORT) as other:
        of_cluster = settled(cluster)
        settled(other)
        ids = stage.submit(TASKS)
        stage.wait_for_lines(TASKS, cluster, other)
        frozen = stage.send_to_busy_worker(signal.SIGSTOP, cluster, other)
        held = [*AgentTask.objects.filter(worker=frozen).values_list("id", flat=True)]
        until(lambda: Worker.objects.filter(pk=frozen.pk, state="dead"), "its burial", cluster)
        stage.wait(ids, cluster, other)
        more = stage.submit(TASKS)  # for a zombie to claim
        os.kill(frozen.pid, signal.SIGCONT)
        stage.wait(more, cluster, other)
        home = cluster if frozen.pid in of_cluster else other
        home.wait_for(rf"pid {frozen.pid}, ended with code {FENCED}")
        home.wait_for("engine.fenced")
        assert cluster.stop() == 0, cluster.log
        assert other.stop() == 0, other.log
        assert cluster.survivors() == other.survivors() == []
    assert held, "the freeze hit nobody"
    assert Event.objects.filter(kind="taken_over").count() == len(held)
    claims_of_dead = Event.objects.filter(
        kind__in=["started", "resumed"], data__worker=str(frozen.pk), task__in=more
    )
    assert not claims_of_dead.exists()
    stage.check_books([*ids, *more])


def test_a_short_freeze_costs_nothing(stage: Stage) -> None:
    with running_cluster() as cluster:
        before = settled(cluster)
        ids = stage.submit(TASKS)
        stage.wait_for_lines(TASKS, cluster)
        frozen = stage.send_to_busy_worker(signal.SIGSTOP, cluster)
        stage.wait_for_requests(len(stage.model.requests), cluster)
        os.kill(frozen.pid, signal.SIGCONT)
        stage.wait(ids, cluster)
        assert cluster.children() == before
        assert cluster.stop() == 0, cluster.log
    assert not Event.objects.filter(kind="taken_over").exists()
    stage.check_turns_asked_once()
    stage.check_books(ids)
