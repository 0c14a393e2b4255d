"""What must be true in every snapshot of the rows, looked at all the time."""

from __future__ import annotations

import threading

from django.db import DatabaseError, InterfaceError, connection

from tasks_app.models import AgentTask
from tasks_app.states import Status, WorkerState

EVERY = 0.05  # seconds


class Probe(threading.Thread):
    """Looks for RUNNING tasks whose worker has ended: `found` maps each to what was seen."""

    def __init__(self) -> None:
        super().__init__(name="probe", daemon=True)
        self.found: dict[str, str] = {}
        self.looks = 0
        self._enough = threading.Event()

    def stop(self) -> None:
        """Look no more."""
        self._enough.set()
        self.join(60)

    def run(self) -> None:
        """Look, and look again; while the database is away there is nothing to see."""
        while not self._enough.wait(EVERY):
            try:
                self._look()
            except (DatabaseError, InterfaceError):
                connection.close()
        connection.close()

    def _look(self) -> None:
        orphaned = AgentTask.objects.filter(
            status=Status.RUNNING, worker__state__in=[WorkerState.GONE, WorkerState.DEAD]
        )
        for prompt, worker, state in orphaned.values_list("prompt", "worker", "worker__state"):
            self.found.setdefault(prompt, f"RUNNING with worker {worker}, which is {state}")
        self.looks += 1
