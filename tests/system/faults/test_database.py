"""The database restarts, crashes, stays away, and hangs up on everybody, under load."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from tasks_app.models import Event
from tests.support.cluster import running_cluster
from tests.system.chaos.databases import Postgresql
from tests.system.faults.harness import Stage, raised_stage, settled, small_clusters, until
from tests.system.faults.own_server import connected, migrated_server

pytestmark = [pytest.mark.postgresql, pytest.mark.timeout(180)]

TASKS = 10
SHORT = {"CAYLEX_LEASE_SECONDS": "3", "CAYLEX_HEARTBEAT_SECONDS": "0.5"}


@pytest.fixture(scope="module")
def server() -> Iterator[Postgresql]:
    with migrated_server() as server:
        yield server


@pytest.fixture
def stage(
    server: Postgresql, django_db_blocker: DjangoDbBlocker, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stage]:
    """A stage in that server's database; what earlier tests left there has ended."""
    monkeypatch.setenv("DATABASE_URL", server.url)
    with django_db_blocker.unblock(), connected(server.url), raised_stage(think=0.2) as stage:
        monkeypatch.setenv("OPENROUTER_BASE_URL", stage.model.base_url)
        yield stage


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_costs_no_answer_no_process_and_no_turn(
    stage: Stage, server: Postgresql, mode: str
) -> None:
    with running_cluster() as cluster:
        before = settled(cluster)
        ids = stage.submit(TASKS)
        stage.wait_for_lines(TASKS, cluster)
        connection.close()
        server.stop(mode=mode)
        try:
            cluster.wait_for("database_away")
        finally:
            server.start()
        stage.wait(ids, cluster)
        assert cluster.children() == before
        assert cluster.stop() == 0, cluster.log
    assert not Event.objects.filter(task__in=ids, kind="taken_over").exists()
    stage.check_turns_asked_once()
    stage.check_books(ids)
    stage.check_nothing_in_doubt()


def test_cut_connections_cost_no_answer_no_process_and_no_turn(stage: Stage) -> None:
    with running_cluster() as cluster:
        before = settled(cluster)
        ids = stage.submit(TASKS)
        for lines in range(TASKS, 4 * TASKS, TASKS // 2):
            stage.wait_for_lines(lines, cluster)
            until(cut_all_connections, "a connection to cut", cluster)
        stage.wait(ids, cluster)
        assert cluster.children() == before
        assert cluster.stop() == 0, cluster.log
    assert not Event.objects.filter(task__in=ids, kind="taken_over").exists()
    stage.check_turns_asked_once()
    stage.check_books(ids)
    stage.check_nothing_in_doubt()


def test_away_for_longer_than_the_lease_everybody_stops_and_starts_over(
    stage: Stage, server: Postgresql
) -> None:
    with running_cluster(**SHORT) as cluster:
        settled(cluster)
        ids = stage.submit(TASKS)
        stage.wait_for_lines(TASKS, cluster)
        connection.close()
        server.stop(mode="fast")
        try:
            cluster.wait_for("engine.fenced", count=small_clusters())
        finally:
            server.start()
        stage.wait(ids, cluster)
        cluster.wait_for("engine.started", count=2 * small_clusters())
        assert cluster.stop() == 0, cluster.log
    assert Event.objects.filter(task__in=ids, kind="taken_over").exists()
    stage.check_books(ids)


def cut_all_connections() -> int:
    """Have the server hang up on everybody but us."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])
