"""`manage.py qcluster`, with real processes, real signals and a stub for the engine."""

from __future__ import annotations

import os
import signal
import time
import uuid
from pathlib import Path

import pytest
from django.db import connection

from tasks_app.notifications.wakeup import send_wakeup
from tests.support.cluster import Cluster, eventually
from tests.system.processes.conftest import StartCluster, manage

SEND_WAKEUP = (
    "from uuid import uuid4; from tasks_app.notifications.wakeup import send_wakeup; "
    "send_wakeup(task_id=uuid4())"
)
STARTED = r"stub (\d+) started"


def settled(cluster: Cluster, count: int) -> list[int]:
    """Wait until `count` engines run, and return their pids, in the order of the slots."""
    cluster.wait_for(STARTED, count=count)
    return cluster.wait_for_children(count)


def none_survives(cluster: Cluster) -> bool:
    return eventually(lambda: not cluster.survivors(), what="no orphan", log=lambda: cluster.log)


def said(cluster: Cluster, words: str) -> int:
    return sum(line.endswith(words) for line in cluster.lines if line.startswith("stub "))


def run_on(database: str, program: str) -> None:
    """Run Python on the cluster's database: here if this process uses it too."""
    if connection.vendor == "postgresql":
        exec(program, {})
    else:
        manage("shell", "-v", "0", "-c", program, database=database)


@pytest.fixture
def count(database: str) -> int:
    """How many small clusters there are: those the database allows, and the quarantine's."""
    return 2 if database.startswith("sqlite") else 3


def test_each_small_cluster_is_one_process_with_one_engine(
    start_cluster: StartCluster, count: int
) -> None:
    with start_cluster() as cluster:
        children = settled(cluster, count)
        engines = [int(match[1]) for match in cluster.wait_for(STARTED, count=count)]
        assert sorted(engines) == sorted(children)
        assert cluster.stop() == 0


def test_a_knock_reaches_exactly_one_engine(
    start_cluster: StartCluster, count: int, database: str
) -> None:
    with start_cluster() as cluster:
        settled(cluster, count)
        run_on(database, SEND_WAKEUP)
        cluster.wait_for("stub .* rung")
        cluster.wait_for("Processed 'tasks_app.notifications.wakeup.handle_wakeup'")
        assert cluster.stop() == 0
        assert len([line for line in cluster.lines if " rung " in line]) == 1


def test_a_killed_small_cluster_is_replaced_and_its_neighbour_lives_on(
    start_cluster: StartCluster, count: int
) -> None:
    with start_cluster() as cluster:
        victim, *others = settled(cluster, count)
        os.kill(victim, signal.SIGKILL)
        cluster.wait_for(STARTED, count=count + 1)
        now = cluster.wait_for_children(count, other_than=(victim,))
        assert {*others} < {*now}
        assert said(cluster, "draining") == 0
        assert cluster.stop() == 0


def test_a_killed_parent_leaves_no_orphan(start_cluster: StartCluster, count: int) -> None:
    with start_cluster() as cluster:
        settled(cluster, count)
        cluster.send(signal.SIGKILL)
        assert cluster.wait() == -signal.SIGKILL
        assert none_survives(cluster)
        assert said(cluster, "draining") == 0


def test_a_stopped_child_dies_with_its_parent(start_cluster: StartCluster, count: int) -> None:
    with start_cluster() as cluster:
        children = settled(cluster, count)
        os.kill(children[0], signal.SIGSTOP)
        cluster.send(signal.SIGKILL)
        cluster.wait()
        assert none_survives(cluster)


def test_a_signal_to_the_parent_drains_each_engine_once(
    start_cluster: StartCluster, count: int
) -> None:
    with start_cluster() as cluster:
        settled(cluster, count)
        cluster.send(signal.SIGTERM)
        assert cluster.wait() == 0
        assert (said(cluster, "draining"), said(cluster, "aborting")) == (count, 0)
        assert cluster.survivors() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_counts_as_one(
    start_cluster: StartCluster, count: int, number: signal.Signals
) -> None:
    with start_cluster() as cluster:
        settled(cluster, count)
        cluster.send_to_group(number)
        assert cluster.wait() == 0
        assert (said(cluster, "draining"), said(cluster, "aborting")) == (count, 0)
        assert cluster.survivors() == []


def test_a_signal_to_one_small_cluster_drains_it_alone_and_another_takes_its_place(
    start_cluster: StartCluster, count: int
) -> None:
    with start_cluster() as cluster:
        leaver, *_ = settled(cluster, count)
        os.kill(leaver, signal.SIGTERM)
        cluster.wait_for(rf"pid {leaver}, ended with code 0")
        cluster.wait_for(STARTED, count=count + 1)
        assert (said(cluster, "draining"), said(cluster, "aborting")) == (1, 0)
        assert cluster.stop() == 0


@pytest.mark.parametrize("send", [Cluster.send, Cluster.send_to_group])
def test_a_second_signal_aborts(start_cluster: StartCluster, count: int, send: object) -> None:
    assert callable(send)
    with start_cluster(STUB="hangs") as cluster:
        settled(cluster, count)
        send(cluster, signal.SIGTERM)
        cluster.wait_for("stub .* draining", count=count)
        assert said(cluster, "aborting") == 0
        send(cluster, signal.SIGTERM)
        assert cluster.wait() == 71
        assert said(cluster, "aborting") == count
        assert cluster.survivors() == []


def test_a_drain_that_takes_too_long_becomes_an_abort(
    start_cluster: StartCluster, count: int
) -> None:
    with start_cluster(STUB="hangs", CAYLEX_DRAIN_SECONDS="0") as cluster:
        settled(cluster, count)
        cluster.send(signal.SIGTERM)
        assert cluster.wait() == 71
        assert said(cluster, "aborting") == count


def test_an_engine_that_ignores_the_abort_too_is_ended(
    start_cluster: StartCluster, count: int
) -> None:
    with start_cluster(STUB="stuck") as cluster:
        settled(cluster, count)
        cluster.send(signal.SIGTERM)
        cluster.wait_for("stub .* draining", count=count)
        cluster.send(signal.SIGTERM)
        assert cluster.wait() == 71
        assert cluster.survivors() == []


def test_a_frozen_small_cluster_does_not_keep_the_parent(
    start_cluster: StartCluster, count: int
) -> None:
    with start_cluster() as cluster:
        frozen, *_ = settled(cluster, count)
        os.kill(frozen, signal.SIGSTOP)
        cluster.send(signal.SIGTERM)
        cluster.wait_for("Told to drain")
        cluster.send(signal.SIGTERM)
        assert cluster.wait() == 71
        assert cluster.survivors() == []


def test_engines_that_keep_dying_are_given_up(start_cluster: StartCluster, count: int) -> None:
    with start_cluster(STUB="dies", CAYLEX_WORKERS="1") as cluster:
        assert cluster.wait() == 70
        assert len(cluster.wait_for("Small cluster 1 started")) == 5
        cluster.wait_for("RuntimeError: the stub does not start", count=5)


def test_an_engine_that_ends_by_itself_is_replaced(
    start_cluster: StartCluster, count: int, database: str
) -> None:
    with start_cluster(STUB="leaves") as cluster:
        settled(cluster, count)
        run_on(database, SEND_WAKEUP)
        cluster.wait_for("ended with code 3")
        cluster.wait_for(STARTED, count=count + 1)
        assert cluster.stop() == 0


def test_run_once_drains_as_soon_as_it_has_started(start_cluster: StartCluster, count: int) -> None:
    with start_cluster("--run-once") as cluster:
        assert cluster.wait() == 0
        assert (said(cluster, "started"), said(cluster, "draining")) == (count, count)


def test_a_named_cluster_listens_to_the_queue_of_that_name(start_cluster: StartCluster) -> None:
    with start_cluster("-n", "slow") as cluster:
        cluster.wait_for(r"\[slow\] running")
        assert cluster.stop() == 0


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_the_parent_has_one_thread_and_no_connection(
    start_cluster: StartCluster, count: int
) -> None:
    with start_cluster() as cluster:
        settled(cluster, count)
        process = Path(f"/proc/{cluster.pid}")
        assert "\nThreads:\t1\n" in (process / "status").read_text()
        opened = [os.readlink(each) for each in (process / "fd").iterdir()]
        assert [each for each in opened if "socket" in each or "sqlite" in each] == []
        assert cluster.stop() == 0


def test_a_job_that_times_out_is_recorded_and_its_small_cluster_replaced(
    start_cluster: StartCluster, count: int, database: str
) -> None:
    program = "from django_q.tasks import async_task; async_task('time.sleep', 90, timeout=1)"
    with start_cluster() as cluster:
        settled(cluster, count)
        run_on(database, program)
        cluster.wait_for("Failed 'time.sleep'.*Task exceeded maximum timeout")
        cluster.wait_for("ended with code 0")
        cluster.wait_for(STARTED, count=count + 1)
        assert said(cluster, "draining") == 1
        assert cluster.stop() == 0
    left = (
        "from django_q.models import Failure, OrmQ;"
        "assert (Failure.objects.all().delete()[0], OrmQ.objects.count()) == (1, 0)"
    )
    run_on(database, left)


def test_a_job_that_no_timeout_stops_costs_the_process_and_no_other(
    start_cluster: StartCluster, count: int, database: str
) -> None:
    program = (
        "from django_q.tasks import async_task;"
        "async_task('tests.system.processes.stub.never_ends', timeout=1)"
    )
    with start_cluster() as cluster:
        settled(cluster, count)
        run_on(database, program)
        cluster.wait_for("A job hangs beyond its timeout")
        cluster.wait_for("ended with code 71")
        cluster.wait_for(STARTED, count=count + 1)
        assert said(cluster, "draining") == 0
        assert cluster.stop() == 0
    run_on(database, "from django_q.models import OrmQ; assert OrmQ.objects.all().delete()[0] == 1")


@pytest.mark.postgresql
def test_cut_connections_are_mended_while_it_runs(start_cluster: StartCluster, count: int) -> None:
    with start_cluster() as cluster:
        children = settled(cluster, count)
        send_wakeup(task_id=uuid.uuid4())
        cluster.wait_for("stub .* rung")
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        cluster.wait_for("The queue's database failed", count=count)
        cluster.wait_for("The queue's database is back", count=count)
        send_wakeup(task_id=uuid.uuid4())
        cluster.wait_for("stub .* rung", count=2)
        assert cluster.children() == children
        assert "reincarnated" not in cluster.log
        assert cluster.stop() == 0


@pytest.mark.postgresql
def test_pickup_latency_is_printed(
    start_cluster: StartCluster, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    waits = []
    with start_cluster() as cluster:
        settled(cluster, count)
        for number in range(20):
            knocked = time.time()
            send_wakeup(task_id=uuid.uuid4())
            rung = cluster.wait_for(r"stub \d+ rung ([\d.]+)", count=number + 1)[-1]
            waits.append(float(rung[1]) - knocked)
        assert cluster.stop() == 0
    waits.sort()
    with capsys.disabled():
        print(f"\npickup: median {waits[10] * 1000:.1f} ms, worst {waits[-1] * 1000:.1f} ms")
