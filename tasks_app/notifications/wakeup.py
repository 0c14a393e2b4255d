"""The doorbell: a django-q2 message that says "look", and what a worker does on hearing it.

A message carries a task's id and nothing else, and the id only helps whoever reads the queue.
One that comes never, late, twice or to the wrong process changes nothing: the rows decide.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable

from django_q.tasks import async_task

logger = logging.getLogger(__name__)

FUNCTION = f"{__name__}.handle_wakeup"

_wake: Callable[[], None] | None = None


def send_wakeup(*, task_id: uuid.UUID) -> None:
    """Wake a worker. Inside a transaction the knock is part of it and leaves when it commits."""
    async_task(FUNCTION, str(task_id), task_name=str(task_id), save=False)


def set_wakeup_handler(*, wake: Callable[[], None] | None) -> None:
    """Have every later `handle_wakeup` in this process call `wake`, which must be thread-safe."""
    global _wake
    _wake = wake


def handle_wakeup(task_id: str) -> None:
    """Wake this process's engine and return at once. Called by django-q2."""
    if _wake is None:
        logger.warning("The doorbell rang for %s in a process without an engine.", task_id)
        return
    _wake()
