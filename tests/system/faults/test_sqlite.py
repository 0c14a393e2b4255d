"""SQLite is locked by another program, or its disk is full: commits wait, nothing is lost."""

from __future__ import annotations

import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection

from tasks_app.models import Event
from tests.support.cluster import running_cluster
from tests.system.faults.harness import Stage, settled

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        not os.environ["DATABASE_URL"].startswith("sqlite"), reason="about SQLite alone"
    ),
]

TASKS = 10


@contextmanager
def locked() -> Iterator[None]:
    """Be the one writer, as a backup or a curious administrator may be."""
    other = sqlite3.connect(connection.settings_dict["NAME"], timeout=30, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
    finally:
        other.close()


@contextmanager
def no_space_for(pids: list[int]) -> Iterator[None]:
    """Let no file of these processes grow beyond what the write-ahead log has now."""
    name = connection.settings_dict["NAME"]
    most = min(Path(f"{name}-wal").stat().st_size, Path(name).stat().st_size)
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)


@pytest.mark.parametrize("trouble", ["locked", "full"])
def test_while_nothing_can_be_written_answers_are_kept_and_no_turn_is_repeated(
    stage: Stage, trouble: str
) -> None:
    stage.play(think=0.2)
    with running_cluster(
        settings="tests.system.faults.settings", FAULTS_SQLITE_TIMEOUT="0.2"
    ) as cluster:
        before = settled(cluster)
        ids = stage.submit(TASKS)
        stage.wait_for_lines(TASKS, cluster)
        connection.close()
        with locked() if trouble == "locked" else no_space_for(before):
            cluster.wait_for("database_away")
        stage.wait(ids, cluster)
        assert cluster.children() == before
        assert cluster.stop() == 0, cluster.log
    assert not Event.objects.filter(kind="taken_over").exists()
    stage.check_turns_asked_once()
    stage.check_books(ids)
    stage.check_nothing_in_doubt()
