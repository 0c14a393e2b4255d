"""/healthz and /readyz: whom they ask, what they say, and that they never break."""

from __future__ import annotations

import datetime
import shutil
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app.models import Worker
from tasks_app.states import WorkerState
from tests.support.factories import WorkerFactory
from tests.support.web_process import running_web

YES, NO = (200, b"yes\n"), (503, b"no\n")


def ask(path: str) -> tuple[int, bytes]:
    answer = Client().get(path)
    return answer.status_code, answer.content


def test_a_living_process_says_yes_and_asks_no_database() -> None:
    assert ask("/healthz") == YES  # without the mark that allows a query


@pytest.mark.django_db
def test_readiness_is_one_indexed_look_once_the_migrations_are_known(worker: Worker) -> None:
    assert ask("/readyz") == YES
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert ask("/readyz") == YES
    looks = [each["sql"] for each in queries if " FROM " in each["sql"]]
    assert len(looks) == 1
    assert "tasks_app_worker" in looks[0]
    assert "LIMIT 1" in looks[0]


@pytest.mark.django_db
def test_without_a_worker_it_is_not_ready() -> None:
    assert ask("/readyz") == NO


@pytest.mark.parametrize(
    "values",
    [
        {"state": WorkerState.DRAINING},
        {"state": WorkerState.GONE},
        {"state": WorkerState.DEAD},
        {"lease_until": timezone.now() - datetime.timedelta(seconds=1)},
    ],
)
@pytest.mark.django_db
def test_a_worker_that_claims_nothing_does_not_count(values: dict[str, Any]) -> None:
    WorkerFactory.create(**values)
    assert ask("/readyz") == NO


def test_a_missing_migration_is_no_until_it_is_there(worker: Worker) -> None:
    applied = MigrationRecorder.Migration.objects.filter(app="tasks_app").latest("id")
    applied.delete()
    assert ask("/readyz") == NO
    MigrationRecorder.Migration.objects.create(app=applied.app, name=applied.name)
    assert ask("/readyz") == YES


def test_with_the_database_away_the_process_lives_and_is_not_ready(database_away: None) -> None:
    assert ask("/healthz") == YES
    assert ask("/readyz") == NO


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_nobody_is_sent_to_https_gets_a_cookie_or_a_cached_answer(
    path: str, worker: Worker
) -> None:
    answer = Client().get(path)  # plain http, with the settings of production
    assert answer.status_code != 301
    assert "Location" not in answer.headers
    assert answer.cookies == {}
    if path != "/metrics":
        assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_head_is_answered_and_a_post_changes_nothing(path: str, worker: Worker) -> None:
    assert Client().head(path).status_code == 200
    assert Client().post(path).status_code == 405


def test_a_real_web_process_without_its_database_lives_and_is_not_ready(tmp_path: Path) -> None:
    def asked(path: bytes) -> bytes:
        head = b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        return web.ask(head)

    folder = tmp_path / "lost"
    folder.mkdir()
    with running_web(database=f"sqlite:///{folder / 'none.sqlite3'}") as web:
        shutil.rmtree(folder)
        for _ in range(3):
            alive, ready = asked(b"/healthz"), asked(b"/readyz")
            assert alive.startswith(b"HTTP/1.1 200 ")
            assert alive.endswith(b"\r\n\r\nyes\n")
            assert ready.startswith(b"HTTP/1.1 503 ")
            assert ready.endswith(b"\r\n\r\nno\n")
        assert asked(b"/metrics").startswith(b"HTTP/1.1 404 ")


def test_it_lives_and_says_503_while_every_thread_waits_for_a_database_that_hangs() -> None:
    poll = (
        b"GET /api/v1/agent-task/%b HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n"
        b"Connection: close\r\n\r\n" % str(uuid.uuid4()).encode()
    )
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,  # takes connections, and says nothing
        running_web(database=f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d") as web,
        ThreadPoolExecutor(settings.WEB_THREADS + 4) as callers,
    ):
        polls = [callers.submit(web.ask, poll) for _ in range(settings.WEB_THREADS + 4)]
        time.sleep(1.0)

        for _ in range(3):
            answer = web.ask(
                b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            assert answer.startswith(b"HTTP/1.1 200 ")
        for each in polls:
            assert each.result(timeout=30).startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 5" in each.result().lower()
