"""The heartbeat: silent at a clean end, and a fence even when the database hangs."""

import threading
import time
from typing import Any

import pytest
from django.utils import timezone

from tasks_app.states import WorkerState
from tasks_app.worker.maintenance.reclaim import end_worker
from tasks_app.worker.process import lease
from tasks_app.worker.process.lease import Heartbeat
from tests.support.engine_rows import a_worker

pytestmark = pytest.mark.django_db(transaction=True)


def a_heartbeat(worker_id: object, fenced: list[str], **values: float) -> Heartbeat:
    return Heartbeat(
        worker_id=worker_id,  # type: ignore[arg-type]
        lease_seconds=values.get("lease", 30.0),
        every=0.01,
        last_tick=time.monotonic,
        held=lambda: 0,
        fenced=fenced.append,
    )


def test_a_beat_in_flight_when_the_worker_ends_itself_is_no_fence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker, fenced = a_worker(), list[str]()
    heartbeat = a_heartbeat(worker.id, fenced)

    def renew(**values: Any) -> bool:
        heartbeat.stop()
        end_worker(worker_id=worker.id, state=WorkerState.GONE, now=timezone.now())
        return really_renew(**values)

    really_renew = lease.renew
    monkeypatch.setattr(lease, "renew", renew)
    heartbeat.start()
    heartbeat.join(5.0)
    assert not heartbeat.is_alive()
    assert fenced == [], "the process would leave with 75 in the middle of a clean end"


def test_a_worker_whose_database_hangs_fences_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, fenced, answer = a_worker(), list[str](), threading.Event()

    def hang(**_: object) -> bool:  # as a connection to a machine that is gone does
        answer.wait()
        return True

    monkeypatch.setattr(lease, "renew", hang)
    heartbeat = a_heartbeat(worker.id, fenced, lease=0.2)
    heartbeat.start()
    deadline = time.monotonic() + 3.0
    while not fenced and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        assert fenced == ["it could not renew its lease"]
    finally:
        answer.set()
        heartbeat.stop()
        heartbeat.join(5.0)
