"""A worker stands still in the middle of a claim: its locks must not outlive its lease."""

import os
import signal
import time

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet

from tasks_app.models import AgentTask, Event, Worker
from tasks_app.states import Status, WorkerState
from tasks_app.worker.database import Database, DatabaseAway
from tasks_app.worker.maintenance.sweep import sweep
from tests.support.cluster import eventually, running_cluster
from tests.support.engine_rows import a_task

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]

BLOCKED = """
SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%accounts_tenant%'
AND datname = current_database()
"""


def test_a_worker_frozen_in_a_claim_is_buried_when_its_lease_has_run_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CAYLEX_LEASE_SECONDS", "1.5")
    monkeypatch.setenv("CAYLEX_HEARTBEAT_SECONDS", "0.4")
    with running_cluster(CAYLEX_WORKERS="1") as cluster:
        eventually(lambda: Worker.objects.filter(state="alive").exists(), what="a worker")
        with transaction.atomic(), connection.cursor() as cursor:
            # A claim locks the worker's own row, then looks at the tenants: there it has to wait.
            cursor.execute("LOCK TABLE accounts_tenant IN ACCESS EXCLUSIVE MODE")
            eventually(lambda: cursor.execute(BLOCKED) or cursor.fetchall(), what="a claim")
            os.kill(cluster.pid, signal.SIGSTOP)
            for pid in cluster.children():
                os.kill(pid, signal.SIGSTOP)
        frozen = Worker.objects.filter(pid__in=cluster.children())
        a_task(status=Status.PENDING)
        try:
            eventually(lambda: _sweep_within_seconds() and _all_dead(frozen), what="the burial")
        finally:
            for pid in [cluster.pid, *cluster.children()]:
                os.kill(pid, signal.SIGCONT)
    # Who came in their place may have claimed it by now; they never did.
    assert not AgentTask.objects.filter(worker__in=frozen).exists()
    assert not Event.objects.filter(data__worker__in=[str(each.pk) for each in frozen]).exists()


def _sweep_within_seconds() -> bool:
    """Sweep as another machine would; False when a lock kept it from its work."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '1s'")
            sweep()
    except OperationalError:
        return False
    return True


def _all_dead(frozen: QuerySet[Worker]) -> bool:
    return {worker.state for worker in frozen.all()} == {WorkerState.DEAD}


async def test_a_session_that_stood_still_for_too_long_is_a_lost_connection_and_replaced(
    database: Database,
) -> None:
    def stand_still() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 50")
            time.sleep(0.5)

    with pytest.raises(DatabaseAway):
        await database.run(stand_still)
    assert await database.run(AgentTask.objects.count) == 0
