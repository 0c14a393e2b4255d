"""An engine with one fence taken out, to show that a chaos run without it fails.

`settings.CAYLEX_ENGINE` names this module when `CHAOS_WITHOUT` is set; importing it does the
damage, in the worker processes alone.
"""

from __future__ import annotations

import datetime
import os
import uuid
from collections.abc import Callable
from types import ModuleType
from typing import Any

from caylex_project.db.server_time import database_now
from tasks_app.models import AgentTask, Worker
from tasks_app.states import Status, WorkerState
from tasks_app.worker import engine
from tasks_app.worker.claiming import claim
from tasks_app.worker.engine import Engine, install
from tasks_app.worker.journal import write

__all__ = ["FENCES", "Engine", "install"]


def _put_in_place_of(module: ModuleType, name: str, value: Any) -> None:
    assert hasattr(module, name), f"{module.__name__} has no {name} any more"
    setattr(module, name, value)


def _without_claim_fence() -> None:
    """Anybody may claim: the worker's own row and lease are not looked at."""

    def open_door(worker_id: uuid.UUID, now: datetime.datetime | None) -> datetime.datetime:
        return now or database_now()

    _put_in_place_of(claim, "_lock_worker", open_door)


def _without_epoch_fence() -> None:
    """Whoever drives a running task may write it, however often it was taken over meanwhile."""
    fence = "AND l.epoch = i.epoch AND l.sequence = i.sequence "
    assert fence in write._WRITE
    _put_in_place_of(write, "_WRITE", write._WRITE.replace(fence, ""))
    update_task = write._update_task

    def unfenced(row: dict[str, Any]) -> int:
        now = AgentTask.objects.filter(pk=row["id"], status=Status.RUNNING).first()
        if now is not None:
            row = {**row, "epoch": now.epoch, "sequence": now.sequence}
        return update_task(row)

    _put_in_place_of(write, "_update_task", unfenced)


def _without_hand_back_by_owner() -> None:
    """A worker that ends says so and leaves what it still holds to others."""

    def end_alone(
        *, worker_id: uuid.UUID, state: WorkerState, now: datetime.datetime
    ) -> list[uuid.UUID]:
        Worker.objects.filter(pk=worker_id).update(state=state, held=0)
        return []

    _put_in_place_of(engine, "end_worker", end_alone)


FENCES: dict[str, Callable[[], None]] = {
    "claim-fence": _without_claim_fence,
    "epoch-fence": _without_epoch_fence,
    "hand-back-by-owner": _without_hand_back_by_owner,
}

FENCES[os.environ["CHAOS_WITHOUT"]]()
