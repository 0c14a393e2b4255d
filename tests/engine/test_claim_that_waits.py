"""A claim waits for a lock: meanwhile its worker renews its lease and is not declared dead."""

import datetime
import threading
from collections.abc import Iterator

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from tasks_app.models import Worker
from tasks_app.worker.maintenance import sweep
from tasks_app.worker.process.lease import renew
from tests.support.cluster import database_url, eventually
from tests.support.engine_rows import a_task, a_worker, claim_all
from tests.system.faults.own_server import locked

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]

WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = ANY(%s)"


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A worker whose claim waits for a lock on the tasks."""
    a_task()
    worker = a_worker()

    sessions: list[int] = []

    def claim() -> None:
        try:
            connection.ensure_connection()
            sessions.append(connection.connection.info.backend_pid)
            claim_all(worker)
        finally:
            connections.close_all()

    claiming = threading.Thread(target=claim)
    with locked(database_url(), "tasks_app_agenttask"):
        claiming.start()
        with connection.cursor() as cursor:
            eventually(
                lambda: cursor.execute(WAITING, [sessions]) or cursor.fetchall(), what="a claim"
            )
        yield worker
        assert claiming.is_alive(), "it waits no more"
    claiming.join(30)
    assert not claiming.is_alive()


def test_its_heartbeat_renews_the_lease(worker: Worker) -> None:
    before = worker.lease_until
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '5s'")
        assert renew(worker_id=worker.id, lease_seconds=90.0, held=0)
    worker.refresh_from_db()
    assert worker.lease_until > before


def test_nobody_declares_it_dead(worker: Worker) -> None:
    with transaction.atomic():
        assert sweep._expired_workers(timezone.now() + datetime.timedelta(hours=1)) == []
