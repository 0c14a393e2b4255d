"""The parent alone, with children that do next to nothing, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.cluster import Cluster, eventually
from tests.support.fork_server import ROOT

PREPARE = """
import logging, os, signal, sys, time
from tasks_app.worker.process import supervisor

logging.basicConfig(level="INFO", stream=sys.stderr, format="%(message)s")
forks = []
os.register_at_fork(before=lambda: forks.append(time.monotonic()))

def say(*words):
    os.write(2, (" ".join(map(str, words)) + "\\n").encode())

def wait_for_stop(control_fd):
    say("waiting", len(forks))
    said = os.read(control_fd, 16)
    say("orders", list(said))
    return 0

def run(child, **changes):
    options = {"count": 1, "child": child, "drain_seconds": 0.0, "pauses": (0.0,), **changes}
    sys.exit(supervisor.Supervisor(**options).run())

"""


@contextmanager
def supervising(program: str) -> Iterator[Cluster]:
    process = subprocess.Popen(
        [sys.executable, "-c", PREPARE + program],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    cluster = Cluster(process=process)
    try:
        yield cluster
    finally:
        cluster.destroy()


def test_five_quick_failures_in_one_place_end_all_with_70_and_drain_the_healthy() -> None:
    program = "run(lambda fd: wait_for_stop(fd) if len(forks) == 2 else 9, count=2)"
    with supervising(program) as cluster:
        assert cluster.wait() == 70
        assert len(cluster.wait_for("Small cluster 1.* ended with code 9")) == 5
        assert len(cluster.wait_for("Small cluster 2.* ended with code 0")) == 1
        assert [match.string for match in cluster.wait_for("^orders")] == ["orders [1]"]


def test_failures_between_good_ends_are_not_in_a_row() -> None:
    program = """
def child(fd):
    if len(forks) == 12:
        return wait_for_stop(fd)
    return 0 if len(forks) % 4 == 0 else 9
run(child)
"""
    with supervising(program) as cluster:
        cluster.wait_for("^waiting 12")
        assert cluster.stop() == 0


def test_each_quick_end_makes_the_next_pause_longer() -> None:
    program = """
def child(fd):
    if len(forks) == 5:
        say("pauses", [b - a > 0.04 for a, b in zip(forks, forks[1:])])
        return wait_for_stop(fd)
    return 0
run(child, pauses=(0.0, 0.0, 0.05))
"""
    with supervising(program) as cluster:
        found = cluster.wait_for("^pauses")[0].string
        assert found.endswith("True, True]")
        cluster.wait_for("^waiting 5")
        assert cluster.stop() == 0


def test_a_signal_during_a_pause_ends_it() -> None:
    with supervising("run(lambda fd: 9, pauses=(1000.0,))") as cluster:
        cluster.wait_for("ended with code 9")
        assert cluster.stop() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part")
def test_the_kernel_ends_children_that_do_not_look_for_orders() -> None:
    program = """
def child(fd):
    say("waiting")
    while True:
        signal.pause()
run(child, count=3)
"""
    with supervising(program) as cluster:
        cluster.wait_for("^waiting", count=3)
        cluster.wait_for_children(3)
        cluster.send(signal.SIGKILL)
        cluster.wait()
        eventually(lambda: not cluster.survivors(), what="no orphan", log=lambda: cluster.log)


def test_where_the_kernel_does_not_help_the_end_of_the_pipe_tells_of_the_parent_s() -> None:
    with supervising("supervisor._LIBC = None\nrun(wait_for_stop, count=3)") as cluster:
        cluster.wait_for("^waiting", count=3)
        cluster.wait_for_children(3)
        cluster.send(signal.SIGKILL)
        cluster.wait()
        assert len(cluster.wait_for(r"^orders \[\]", count=3)) == 3
        eventually(lambda: not cluster.survivors(), what="no orphan", log=lambda: cluster.log)


def test_a_replaced_child_s_pipe_does_not_outlive_it_in_its_neighbours() -> None:
    program = """
supervisor._LIBC = None
def child(fd):
    say("files", len(os.listdir("/proc/self/fd")))
    return wait_for_stop(fd)
run(child, count=2)
"""
    with supervising(program) as cluster:
        cluster.wait_for("^waiting", count=2)
        for number in range(2, 5):
            victim = cluster.wait_for_children(2)[0]
            os.kill(victim, signal.SIGKILL)
            cluster.wait_for("^waiting", count=number + 1)
        assert len({match.string for match in cluster.wait_for("^files", count=5)}) == 1
        assert cluster.stop() == 0


def test_a_child_that_raises_says_so_and_ends_with_1() -> None:
    program = """
def child(fd):
    if len(forks) == 2:
        return wait_for_stop(fd)
    raise RuntimeError("as planned")
run(child)
"""
    with supervising(program) as cluster:
        cluster.wait_for("^RuntimeError: as planned")
        cluster.wait_for("ended with code 1")
        cluster.wait_for("^waiting 2")
        assert cluster.stop() == 0


def test_a_child_that_ends_badly_while_stopping_makes_it_71() -> None:
    with supervising("run(lambda fd: wait_for_stop(fd) or 5)") as cluster:
        cluster.wait_for("^waiting")
        assert cluster.stop() == 71


def test_signals_are_blocked_until_the_child_can_take_them() -> None:
    program = """
def child(fd):
    say("blocked", sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())) )
    say("wakeup", signal.set_wakeup_fd(-1))
    return wait_for_stop(fd)
run(child)
"""
    with supervising(program) as cluster:
        cluster.wait_for("^waiting")
        blocked = [signal.SIGINT, signal.SIGTERM, signal.SIGCHLD]
        assert cluster.wait_for("^blocked")[0].string == f"blocked {blocked!r}"
        assert cluster.wait_for("^wakeup")[0].string == "wakeup -1"
        assert cluster.stop() == 0
