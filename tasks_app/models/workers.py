"""The processes that hold tasks, and their leases."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q

from tasks_app.states import WorkerState


class Worker(models.Model):
    """One incarnation of a worker process, and its lease: the right to write."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    host = models.CharField(max_length=255)
    machine = models.CharField(
        max_length=100, help_text="Boot id and pid namespace: where the pid means something."
    )
    pid = models.PositiveIntegerField()
    pid_started = models.CharField(max_length=30, help_text="Start time of the pid, in ticks.")
    version = models.CharField(max_length=50)
    state = models.CharField(max_length=10, choices=WorkerState, default=WorkerState.ALIVE)
    lease_until = models.DateTimeField()
    capacity = models.PositiveIntegerField()
    held = models.PositiveIntegerField(default=0, help_text="Tasks held at the last heartbeat.")
    started_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(
                fields=["lease_until"],
                name="worker_living",
                condition=Q(state__in=[WorkerState.ALIVE.value, WorkerState.DRAINING.value]),
            )
        ]

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"
