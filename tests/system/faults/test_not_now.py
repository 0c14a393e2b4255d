"""The database says "not now": it is read-only, or a lock lasts longer than the lease."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from django.conf import settings
from django.db import connection
from pytest_django import DjangoDbBlocker

from caylex_project.accounts.keys import issue_navigator_key, issue_platform_token
from tasks_app.models import AgentTask, Event
from tests.support.accounts import SUBMIT
from tests.support.cluster import Cluster, running_cluster
from tests.support.web_process import Web, running_web
from tests.system.chaos.databases import Postgresql
from tests.system.faults.harness import Stage, raised_stage, settled, small_clusters, until
from tests.system.faults.own_server import connected, locked, migrated_server, read_only, sessions

pytestmark = [pytest.mark.postgresql, pytest.mark.timeout(240)]

TASKS = 10
LEASE = {"CAYLEX_LEASE_SECONDS": "10", "CAYLEX_HEARTBEAT_SECONDS": "1"}
LOCKED = 25.0  # seconds: two and a half leases
# A request has to be answered within five seconds; this machine may be slow.
PATIENCE = 12.0
# What docs/operations.md allows for: a web process and three worker processes.
MAX_SESSIONS = 9 + 8 * 3
TABLE = "tasks_app_agenttask"


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


class Backend:
    """A backend that submits the stage's tasks over HTTP."""

    def __init__(self, stage: Stage, web: Web) -> None:
        self._stage = stage
        self._web = web
        tenant = stage.navigator.project.tenant
        _, token = issue_platform_token(tenant=tenant, name="backend")
        _, self._key = issue_navigator_key(navigator=stage.navigator)
        self._headers = {"Authorization": f"Bearer {token}"}

    def submit(self, key: str) -> httpx.Response:
        """Submit once under an idempotency key."""
        body = {
            "caylex_api_key": self._key,
            "user_email": "jane@example.com",
            "prompt": f"Do task-{key}.",
        }
        headers = {**self._headers, "Idempotency-Key": key}
        url = self._web.address + SUBMIT
        return httpx.post(url, json=body, headers=headers, timeout=60.0)

    def get(self, path: str, *, token: bool = True) -> httpx.Response:
        """Ask for a page."""
        headers = self._headers if token else {}
        return httpx.get(self._web.address + path, headers=headers, timeout=60.0)


def assert_not_now(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json()["code"] == "database_unavailable"


def assert_nothing_lost(
    stage: Stage, cluster: Cluster, before: list[int], ids: Sequence[uuid.UUID]
) -> None:
    """No process ended, no answer was lost, no attempt was used, nothing is in doubt."""
    stage.wait(ids, cluster)
    assert cluster.children() == before
    assert cluster.stop() == 0, cluster.log
    assert not Event.objects.filter(task__in=ids, kind__in=["taken_over", "waiting"]).exists()
    stage.check_turns_asked_once()
    stage.check_books(ids)
    stage.check_nothing_in_doubt()


@pytest.mark.parametrize("seconds", [3.0, 14.0])
def test_a_read_only_database_costs_no_process_no_answer_and_no_attempt(
    stage: Stage, server: Postgresql, seconds: float
) -> None:
    number = f"{900 + seconds:.0f}"
    with running_cluster() as cluster, running_web(database=server.url) as web:
        before = settled(cluster)
        backend = Backend(stage, web)
        until(lambda: backend.get("/readyz").status_code == 200, "readiness", cluster)
        ids = stage.submit(TASKS)
        stage.wait_for_lines(TASKS, cluster)
        with read_only(server.url):
            until(lambda: backend.get("/readyz").status_code == 503, "no more writes", cluster)
            began = time.monotonic()
            assert_not_now(backend.submit(number))
            assert backend.get(f"{SUBMIT}/{ids[0]}").status_code == 200, "reading works"
            time.sleep(max(0.0, seconds - (time.monotonic() - began)))
            assert_not_now(backend.submit(number))
        until(lambda: backend.get("/readyz").status_code == 200, "writes again", cluster)
        assert backend.submit(number).status_code == 202
        submitted = AgentTask.objects.get(prompt=f"Do task-{number}.")
        stage.names[submitted.pk] = f"task-{number}"
        assert_nothing_lost(stage, cluster, before, [*ids, submitted.pk])


def test_a_lock_longer_than_the_lease_costs_no_process_and_no_connection(
    stage: Stage, server: Postgresql
) -> None:
    """The lock is on the tasks, as of a migration that waits behind a dump."""
    with running_cluster(**LEASE) as cluster, running_web(database=server.url) as web:
        before = settled(cluster)
        backend = Backend(stage, web)
        ids = stage.submit(TASKS)
        stage.wait_for_lines(TASKS, cluster)
        connection.close()
        with (
            locked(server.url, TABLE) as holder,
            ThreadPoolExecutor(settings.WEB_THREADS) as callers,
        ):
            ends = time.monotonic() + LOCKED
            most = 0
            while time.monotonic() < ends:
                callers.submit(backend.get, f"{SUBMIT}/{ids[0]}")
                most = max(most, sessions(holder))
                time.sleep(0.5)
            assert most <= MAX_SESSIONS
            assert cluster.children() == before, cluster.log
        assert_nothing_lost(stage, cluster, before, ids)


def test_during_a_lock_every_request_is_answered_soon(stage: Stage, server: Postgresql) -> None:
    with running_web(database=server.url) as web:
        backend = Backend(stage, web)
        task = stage.submit()[0]
        assert backend.get(f"{SUBMIT}/{task}").status_code == 200
        connection.close()
        asked = [
            *[lambda: backend.get(f"{SUBMIT}/{task}")] * 4,
            *[lambda: backend.submit("901")] * 3,
            lambda: backend.get(SUBMIT),
        ]
        assert len(asked) == settings.WEB_THREADS
        with locked(server.url, TABLE), ThreadPoolExecutor(len(asked)) as callers:
            began = time.monotonic()
            answers = [callers.submit(each) for each in asked]
            for each in answers:
                assert_not_now(each.result())
            assert time.monotonic() - began < PATIENCE
            refused = backend.get(SUBMIT, token=False)
            assert refused.status_code == 401
            assert time.monotonic() - began < 2 * PATIENCE
        assert backend.get(f"{SUBMIT}/{task}").status_code == 200
    AgentTask.objects.filter(pk=task).delete()


def test_sessions_of_killed_workers_that_wait_for_a_lock_end(
    stage: Stage, server: Postgresql
) -> None:
    with running_cluster(**LEASE) as cluster:
        settled(cluster)
        ids = stage.submit(TASKS)
        stage.wait_for_lines(1, cluster)
        connection.close()
        with locked(server.url, TABLE) as holder:
            for lives in range(2, 5):
                time.sleep(2.0)  # let them all wait
                for pid in cluster.children():
                    os.kill(pid, signal.SIGKILL)
                cluster.wait_for("engine.started", count=lives * small_clusters())
            until(lambda: sessions(holder) <= 8 * 3, "the end of the sessions", cluster)
        stage.wait(ids, cluster)
        assert cluster.stop() == 0, cluster.log
    stage.check_books(ids)
