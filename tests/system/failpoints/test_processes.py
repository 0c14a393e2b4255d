"""Real worker processes die at a commit, and real ones finish what they left."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import running_cluster
from tests.system.failpoints.engine import DIED
from tests.system.faults.harness import Stage, raised_stage, settled

pytestmark = pytest.mark.timeout(180)

TASKS = 4
SETTINGS = {"settings": "tests.system.failpoints.settings", "CAYLEX_LEASE_SECONDS": "600"}


@pytest.fixture
def stage(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with raised_stage(turns=3, think=0.0) as stage:
        monkeypatch.setenv("OPENROUTER_BASE_URL", stage.model.base_url)
        yield stage


@pytest.mark.parametrize(
    "failpoint",
    ["claim:before:0", "claim:after:0", "write:before:2", "write:after:5", "sweep:after:3"],
)
def test_who_dies_at_a_commit_is_replaced_and_his_tasks_end_as_scripted(
    stage: Stage, tmp_path: Path, failpoint: str
) -> None:
    switch = {"FAILPOINT": failpoint, "FAILPOINT_DONE": str(tmp_path / "done")}
    ids = stage.submit(TASKS)  # before anybody looks: no claim falls between two looks
    with running_cluster(**SETTINGS, **switch) as cluster:
        cluster.wait_for(f"ended with code {DIED}")
        stage.wait(ids, cluster)
        assert cluster.stop() == 0, cluster.log
    stage.check_books(ids)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_who_dies_at_his_own_end_has_lost_nothing(
    stage: Stage, tmp_path: Path, moment: str
) -> None:
    stage.play(think=0.2, turns=3)
    switch = {"FAILPOINT": f"end:{moment}:0", "FAILPOINT_DONE": str(tmp_path / "done")}
    with running_cluster(**SETTINGS, **switch) as cluster:
        settled(cluster)
        ids = stage.submit(TASKS)
        stage.wait_for_lines(TASKS, cluster)
        cluster.send(signal.SIGTERM)
        assert cluster.wait() == 71, "a broken end must be seen"
        cluster.wait_for(f"ended with code {DIED}")
    with running_cluster(**SETTINGS) as cluster:
        stage.wait(ids, cluster)
        assert cluster.stop() == 0, cluster.log
    stage.check_turns_asked_once()
    stage.check_books(ids)
    stage.check_nothing_in_doubt()
