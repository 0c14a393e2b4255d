"""The lease of one worker process: registered, renewed by a heartbeat, given up."""

from __future__ import annotations

import datetime
import threading
import time
import uuid
from collections.abc import Callable

import structlog
from django.db import DatabaseError, InterfaceError, close_old_connections, connections
from django.db.models.functions import Now

from caylex_project import VERSION
from caylex_project.db.clock import clock
from caylex_project.db.server_time import database_now
from tasks_app.models import Worker
from tasks_app.states import WorkerState
from tasks_app.worker.process.identity import this_process

log = structlog.get_logger(__name__)

LOOK_EVERY = 0.5  # seconds between looks at the age of the last heartbeat
FENCE_AT = 0.8  # share of the lease without a heartbeat after which the worker ends itself


def register(*, capacity: int, lease_seconds: float) -> uuid.UUID:
    """Write the row of a new incarnation, alive and leased, and return its id.

    From here on the process knows the database's time.
    """
    clock.measure(database_now)
    me = this_process()
    worker = Worker.objects.create(
        host=me.host,
        machine=me.machine,
        pid=me.pid,
        pid_started=me.pid_started,
        version=VERSION,
        lease_until=Now() + datetime.timedelta(seconds=lease_seconds),
        capacity=capacity,
        started_at=Now(),
    )
    return worker.id


def renew(*, worker_id: uuid.UUID, lease_seconds: float, held: int) -> bool:
    """Extend the lease by the database's clock; False when the worker was declared dead."""
    living = Worker.objects.filter(
        pk=worker_id, state__in=[WorkerState.ALIVE, WorkerState.DRAINING]
    )
    lease_until = Now() + datetime.timedelta(seconds=lease_seconds)
    return bool(living.update(lease_until=lease_until, held=held))


def set_draining(*, worker_id: uuid.UUID) -> None:
    """Tell everybody that this worker claims no more."""
    Worker.objects.filter(pk=worker_id, state=WorkerState.ALIVE).update(state=WorkerState.DRAINING)


class Heartbeat(threading.Thread):
    """Renews the lease every few seconds, on a thread and a connection of its own.

    1. Silent while the event loop does not turn: a worker that hangs must lose its lease.
    2. A refused renewal means that others took over: `fenced` is called at once.
    3. Without a success for 80 % of the lease `fenced` is called before anybody may take over,
       by a thread that asks nobody anything: a beat may hang in a connection to a lost machine.
    """

    def __init__(
        self,
        *,
        worker_id: uuid.UUID,
        lease_seconds: float,
        every: float,
        last_tick: Callable[[], float],
        held: Callable[[], int],
        fenced: Callable[[str], None],
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._worker_id = worker_id
        self._lease_seconds = lease_seconds
        self._every = every
        self._last_tick = last_tick
        self._held = held
        self._fenced = fenced
        self._ending = threading.Event()
        self._renewed = time.monotonic()

    def run(self) -> None:
        self._renewed = time.monotonic()
        threading.Thread(target=self._watch, name="fence", daemon=True).start()
        try:
            self._beat_until_ending()
        finally:
            connections.close_all()

    def _beat_until_ending(self) -> None:
        while not self._ending.wait(self._every):
            began = time.monotonic()
            if began - self._last_tick() < self._every:
                outcome = self._beat()
                if self._ending.is_set():
                    return
                if outcome is False:
                    self._ending.set()
                    self._fenced("its lease was taken over")
                    return
                if outcome:
                    self._renewed = began

    def _watch(self) -> None:
        while not self._ending.wait(min(self._every, LOOK_EVERY)):
            if time.monotonic() - self._renewed > self._lease_seconds * FENCE_AT:
                self._ending.set()
                self._fenced("it could not renew its lease")

    def stop(self) -> None:
        """End the thread after the beat it is in, whatever comes of that."""
        self._ending.set()

    def _beat(self) -> bool | None:
        """Renew and read the database's clock; None when the database did not answer."""
        try:
            close_old_connections()
            clock.measure(database_now)
            return renew(
                worker_id=self._worker_id, lease_seconds=self._lease_seconds, held=self._held()
            )
        except (DatabaseError, InterfaceError):
            log.warning("heartbeat.database_away", worker=str(self._worker_id))
            return None
