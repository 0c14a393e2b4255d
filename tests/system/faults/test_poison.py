"""A task that kills whichever process runs it: it is kept apart, given up, and costs no other."""

from __future__ import annotations

import pytest

from tasks_app.failures import FATAL
from tasks_app.models import Event, Worker
from tasks_app.worker.claiming.quarantine import FATAL_AT, QUARANTINED_AT
from tests.support.cluster import running_cluster
from tests.system.faults.engine import KILLED
from tests.system.faults.harness import Stage, settled, small_clusters

pytestmark = pytest.mark.timeout(180)

INNOCENT = 8


def test_a_task_that_kills_its_workers_ends_failed_and_its_neighbours_complete(
    stage: Stage,
) -> None:
    with running_cluster(
        settings="tests.system.faults.settings", FAULTS_POISON="poison"
    ) as cluster:
        settled(cluster)
        poison = stage.submit_prompt("Do poison.")
        ids = stage.submit(INNOCENT)
        (given_up,) = stage.wait([poison], cluster)
        stage.wait(ids, cluster)
        late = stage.submit(INNOCENT)
        stage.wait(late, cluster)
        assert len(cluster.wait_for_children(small_clusters())) == small_clusters()
        assert "giving up" not in cluster.log, "the parent gave up instead of the task"
        assert cluster.stop() == 0, cluster.log
    assert (given_up.status, given_up.stop_reason, given_up.error) == ("FAILED", "error", FATAL)
    assert (given_up.crashes, given_up.steps_completed) == (FATAL_AT, 0)
    assert "poison" not in stage.names_asked()
    assert Worker.objects.filter(state="dead").count() == FATAL_AT
    stage.check_books([*ids, *late])
    ended = rf"Small cluster [1-{small_clusters() - 1}], pid \d+, ended with code {KILLED}"
    assert len(cluster.wait_for(ended)) == QUARANTINED_AT, "the healthy were hit by it later too"
    kinds = Event.objects.filter(task=poison).order_by("sequence").values_list("kind", flat=True)
    assert list(kinds) == ["started", "taken_over", *["resumed", "taken_over"] * 6, "failed"]
