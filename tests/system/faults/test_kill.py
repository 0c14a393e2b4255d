"""Processes are killed with -9, busy and idle, one and all, and nobody notices."""

from __future__ import annotations

import os
import signal

import pytest

from tasks_app.models import AgentTask, Event, Worker
from tests.support.cluster import Cluster, eventually, running_cluster
from tests.system.faults.harness import Stage, settled, small_clusters, until

pytestmark = pytest.mark.timeout(180)

TASKS = 10
FOR_EVER = {"CAYLEX_LEASE_SECONDS": "600"}  # so that no lease runs out while we look


def taken_over() -> int:
    return Event.objects.filter(kind="taken_over").count()


def test_a_killed_busy_worker_s_tasks_go_on_at_once_and_nothing_is_done_twice(
    stage: Stage,
) -> None:
    with running_cluster(**FOR_EVER) as cluster:
        settled(cluster)
        ids = stage.submit(TASKS)
        stage.wait_for_lines(TASKS, cluster)
        victim = stage.busy_worker(cluster)
        os.kill(victim.pid, signal.SIGKILL)
        stage.wait(ids, cluster)
        settled(cluster)
        assert cluster.stop() == 0, cluster.log
        assert cluster.survivors() == []
    victim.refresh_from_db()
    assert victim.state == "dead"
    assert taken_over() > 0, "the kill hit nobody"
    stage.check_books(ids)


def test_a_killed_idle_worker_is_replaced_and_the_cluster_works_on_and_ends(stage: Stage) -> None:
    with running_cluster(**FOR_EVER) as cluster:
        before = settled(cluster)
        for pid in before:  # each of them, the quarantine's too
            os.kill(pid, signal.SIGKILL)
        cluster.wait_for_children(small_clusters(), other_than=tuple(before))
        ids = stage.submit(TASKS)
        stage.wait(ids, cluster)
        until(
            lambda: Worker.objects.filter(state="dead").count() == small_clusters(),
            "their burial",
            cluster,
        )
        assert cluster.stop() == 0, cluster.log
        assert cluster.survivors() == []
    assert taken_over() == 0
    stage.check_turns_asked_once()
    stage.check_books(ids)


def test_a_killed_parent_or_group_leaves_no_orphan_and_the_next_start_buries_at_once(
    stage: Stage,
) -> None:
    ids = []
    held = 0
    for kill in (Cluster.send, Cluster.send_to_group):
        with running_cluster(**FOR_EVER) as cluster:
            settled(cluster)
            lines = len(stage.ledger.entries)
            ids += stage.submit(TASKS)
            stage.wait_for_lines(lines + TASKS, cluster)
            kill(cluster, signal.SIGKILL)
            assert cluster.wait() == -signal.SIGKILL
            eventually(lambda c=cluster: not c.survivors(), what="no orphan")  # type: ignore[misc]
        assert AgentTask.objects.filter(status="RUNNING").exists(), "the kill hit nobody"
        held += AgentTask.objects.filter(status="RUNNING").count()
    with running_cluster(**FOR_EVER) as cluster:
        stage.wait(ids, cluster)
        assert cluster.stop() == 0, cluster.log
    assert taken_over() == held
    assert not Worker.objects.exclude(state__in=["dead", "gone"]).exists()
    stage.check_books(ids)


def test_a_machine_that_is_gone_loses_its_tasks_with_its_lease_and_a_slow_one_does_not(
    stage: Stage,
) -> None:
    """The rows of other machines' workers: one as a power cut leaves them, one that lives."""
    with running_cluster() as cluster:
        settled(cluster)
        gone = stage.worker_of_another_machine(lease=1.0)
        slow = stage.worker_of_another_machine(lease=600.0)
        ids = stage.submit_held_by(gone, count=3)
        kept = stage.submit_held_by(slow, count=3)
        stage.wait(ids, cluster)
        assert cluster.stop() == 0, cluster.log
    gone.refresh_from_db()
    slow.refresh_from_db()
    assert (gone.state, slow.state) == ("dead", "alive")
    freed = Event.objects.filter(kind="taken_over")
    assert {event.task_id for event in freed} == {*ids}
    assert all(event.at >= gone.lease_until for event in freed), "taken before the lease ended"
    still = AgentTask.objects.filter(pk__in=kept, status="RUNNING", worker=slow, epoch=1)
    assert still.count() == 3
    assert not {stage.names[each] for each in kept} & stage.names_asked()
    stage.check_books(ids)
