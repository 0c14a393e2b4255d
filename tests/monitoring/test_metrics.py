"""/metrics: who may read it, what it tells, and what it costs."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ
from prometheus_client.parser import text_string_to_metric_families

from tasks_app.models import AgentTask, Worker
from tasks_app.monitoring import metrics, stats
from tasks_app.states import Status, WorkerState
from tests.monitoring.conftest import TOKEN
from tests.support.factories import (
    AgentTaskFactory,
    EndUserFactory,
    NavigatorFactory,
    WorkerFactory,
)

SECOND = datetime.timedelta(seconds=1)
RUNNING = {"status": Status.RUNNING}
OVER = {"status": Status.FAILED, "stop_reason": "error", "error": "It broke."}


def ask(authorization: str | None = f"Bearer {TOKEN}", **more: Any) -> Any:
    headers = {} if authorization is None else {"Authorization": authorization}
    return Client(raise_request_exception=False).get("/metrics", headers=headers, **more)


def samples() -> dict[str, float]:
    """Return every sample as `name` or `name label`."""
    answer = ask()
    assert answer.status_code == 200
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def test_without_a_token_in_the_settings_there_is_no_such_page() -> None:
    assert ask().status_code == 404
    assert ask("Bearer ").status_code == 404
    assert ask(None).status_code == 404


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer x {TOKEN}",
        "Bearer ümläut-\udcff",
        "Bearer \x00",
    ],
)
def test_another_word_than_the_token_is_401_and_reads_nothing(
    with_token: None, authorization: str | None
) -> None:
    answer = ask(authorization)  # without the mark that allows a query
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"
    assert answer.content == b""


def test_a_post_is_refused(with_token: None) -> None:
    assert Client().post("/metrics").status_code == 405


def test_with_the_database_away_it_says_so_and_nothing_else(
    with_token: None, database_away: None
) -> None:
    assert samples() == {"caylex_database_up": 0.0}


def test_it_tells_how_tasks_workers_and_doorbell_stand(with_token: None, worker: Worker) -> None:
    now = timezone.now()
    late = WorkerFactory.create(lease_until=now - SECOND, held=1, version="old")
    WorkerFactory.create(state=WorkerState.DRAINING, held=2, capacity=500)
    WorkerFactory.create(state=WorkerState.GONE)
    WorkerFactory.create(state=WorkerState.DEAD)
    oldest = AgentTaskFactory.create(next_attempt_at=now - 90 * SECOND, priority=3)
    AgentTaskFactory.create(next_attempt_at=now - 10 * SECOND)
    AgentTaskFactory.create(next_attempt_at=now + 60 * SECOND, waiting_reason="429", attempt=1)
    AgentTaskFactory.create(next_attempt_at=now - 900 * SECOND, crashes=2)
    AgentTaskFactory.create(next_attempt_at=now + 900 * SECOND, crashes=4)
    AgentTaskFactory.create(**RUNNING, worker=worker)
    AgentTaskFactory.create(**RUNNING, worker=late, cancel_requested_at=now)
    AgentTaskFactory.create(**OVER, completed_at=now)
    OrmQ.objects.create(key="caylex", payload="x", lock=now)
    long_ago = {"next_attempt_at": now - 900 * SECOND}
    AgentTaskFactory.create(**long_ago, tenant__paused=True)
    AgentTaskFactory.create(**long_ago, tenant=oldest.tenant, project__paused=True)
    AgentTaskFactory.create(**long_ago, project__disabled_at=now)
    held = AgentTaskFactory.create(**long_ago, crashes=2, project__paused=True)
    AgentTaskFactory.create(next_attempt_at=now + 60 * SECOND, project=held.project)

    told = samples()

    assert 90 <= told.pop("caylex_oldest_due_seconds") < 90 + 60
    assert {name: value for name, value in told.items() if "recent" not in name} == {
        "caylex_database_up": 1,
        "caylex_tasks PENDING": 10,
        "caylex_tasks RUNNING": 2,
        "caylex_tasks_due": 2,
        "caylex_tasks_waiting": 1,
        "caylex_tasks_suspended": 4,
        "caylex_tasks_quarantined": 3,
        "caylex_tasks_orphaned": 1,
        "caylex_tasks_stopping": 1,
        "caylex_wakeup_messages": 1,
        "caylex_workers alive": 1,
        "caylex_workers draining": 1,
        "caylex_workers late": 1,
        "caylex_worker_versions": 3,
        "caylex_workers_held": 3,
        "caylex_workers_capacity": 10,
    }


def test_it_tells_what_the_last_hour_s_tasks_have_used(with_token: None, db: None) -> None:
    now = timezone.now()
    AgentTaskFactory.create(
        **OVER, completed_at=now, steps_completed=3, tool_calls_made=4, cost_usd=Decimal("0.25")
    )
    AgentTaskFactory.create(steps_completed=1, input_tokens=100, output_tokens=7)
    AgentTaskFactory.create(created_at=now - datetime.timedelta(hours=2), steps_completed=1000)

    told = samples()

    assert {name: value for name, value in told.items() if "recent" in name} == {
        "caylex_recent_tasks PENDING": 1,
        "caylex_recent_tasks RUNNING": 0,
        "caylex_recent_tasks COMPLETED": 0,
        "caylex_recent_tasks INCOMPLETE": 0,
        "caylex_recent_tasks FAILED": 1,
        "caylex_recent_usage steps": 4,
        "caylex_recent_usage tool_calls": 4,
        "caylex_recent_usage input_tokens": 100,
        "caylex_recent_usage output_tokens": 7,
        "caylex_recent_usage cached_input_tokens": 0,
        "caylex_recent_usage reasoning_tokens": 0,
        "caylex_recent_cost_usd": 0.25,
        "caylex_recent_capped": 0,
    }


def test_counts_stop_at_their_caps(
    with_token: None, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats, "COUNT_TO", 2)
    monkeypatch.setattr(metrics, "RECENT_TASKS", 3)
    for _ in range(4):
        AgentTaskFactory.create(steps_completed=1)

    told = samples()

    assert told["caylex_tasks_due"] == 2
    assert told["caylex_recent_tasks PENDING"] == 3
    assert told["caylex_recent_usage steps"] == 3
    assert told["caylex_recent_capped"] == 1


def test_no_label_or_value_names_a_tenant_a_user_or_a_task(
    with_token: None, worker: Worker
) -> None:
    task = AgentTaskFactory.create(tenant__name="acme-and-sons", waiting_reason="a secret reason")
    answer = ask().content.decode()
    for word in (str(task.id), str(task.tenant_id), "acme", "example.com", "secret", worker.host):
        assert word not in answer
    assert set(re.findall(r"(\w+)=\"", answer)) == {"status", "state", "kind"}


def fill(*, over: int, tenants: int) -> None:
    """Write many tasks that are over, old ones, and a few live ones for each tenant."""
    long_ago = timezone.now() - datetime.timedelta(days=30)
    now = timezone.now()
    Worker.objects.bulk_create(
        Worker(
            host="h",
            machine="m",
            pid=1,
            pid_started="1",
            version="v",
            state=WorkerState.GONE,
            lease_until=long_ago,
            capacity=1,
            started_at=long_ago,
        )
        for _ in range(300)
    )
    alive = WorkerFactory.create()
    for _ in range(tenants):
        navigator = NavigatorFactory.create()
        common = {
            "tenant_id": navigator.project.tenant_id,
            "project": navigator.project,
            "navigator": navigator,
            "end_user": EndUserFactory.create(project=navigator.project),
            "prompt": "p" * 200,
            "model": "scripted",
        }
        AgentTask.objects.bulk_create(
            AgentTask(
                **common,
                status="COMPLETED",
                report="r" * 500,
                stop_reason="final_report",
                created_at=long_ago,
                next_attempt_at=long_ago,
                completed_at=long_ago,
            )
            for _ in range(over // tenants)
        )
        live: list[dict[str, Any]] = [
            {"next_attempt_at": now - SECOND},
            {"next_attempt_at": now + 60 * SECOND},
            {"next_attempt_at": now, "crashes": 3},
            {"next_attempt_at": now, "status": "RUNNING", "worker": alive},
            {
                "next_attempt_at": now,
                "status": "RUNNING",
                "worker": alive,
                "cancel_requested_at": now,
            },
        ]
        AgentTask.objects.bulk_create(
            AgentTask(**common, **values, created_at=now) for values in live
        )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def rows_looked_at(sql: str) -> int:
    """Return how many rows or index entries of the tasks a query looks at when it is run.

    On PostgreSQL, those that its scans returned or left out. On SQLite, the steps of its program in
    tens: a row takes five steps or more.
    """
    if connection.vendor == "sqlite":
        tens: list[None] = []
        connection.connection.set_progress_handler(lambda: tens.append(None), 10)
        try:
            connection.connection.execute(sql).fetchall()
        finally:
            connection.connection.set_progress_handler(None, 0)
        return len(tens)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        return sum(map(_looked_at, _nodes(cursor.fetchone()[0][0]["Plan"])))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from _nodes(each)


def _looked_at(node: dict[str, Any]) -> int:
    """Return the rows that a node of a plan read of the tasks' table or of one of its indexes."""
    of_tasks = node.get("Relation Name") == "tasks_app_agenttask"
    if not of_tasks and not node.get("Index Name", "").startswith("task_"):
        return 0
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    rows: float = node["Actual Rows"] + sum(node.get(name, 0) for name in removed)
    return round(rows * float(node["Actual Loops"]))


def test_no_query_of_a_scrape_or_of_readiness_walks_through_the_tasks(db: None) -> None:
    """Of 6,000 tasks 15 are live and of the last hour; no query looks at many more than those.

    Which index a query takes is the planner's business: where few rows are expected, several cost
    the same to within the one percent that it does not tell apart.
    """
    over, tenants = 6000, 3
    fill(over=over, tenants=tenants)
    with CaptureQueriesContext(connection) as queries:
        figures = stats.collect_stats()
        metrics.read_recent(now=figures.at)
        assert stats.is_ready()

    assert (figures.due, figures.waiting, figures.quarantined) == (3, 3, 3)
    assert (figures.running, figures.orphaned, figures.stopping) == (6, 0, 3)
    of_tasks = [each["sql"] for each in queries if "tasks_app_agenttask" in each["sql"]]
    assert len(of_tasks) == 12
    looked_at = {sql: rows_looked_at(sql) for sql in of_tasks}
    assert max(looked_at.values()) < over / 10, looked_at
    walk = str(AgentTask.objects.filter(rerun_of=None).values("prompt").query)
    assert rows_looked_at(walk) > over / 3, "a walk is not seen"


def test_the_number_of_queries_does_not_depend_on_what_there_is(db: None) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            stats.collect_stats()
        return len(queries)

    AgentTaskFactory.create()
    AgentTaskFactory.create(project__paused=True)
    before = count()
    for _ in range(3):
        AgentTaskFactory.create()
        AgentTaskFactory.create(**RUNNING, worker=WorkerFactory.create())
    assert count() == before
