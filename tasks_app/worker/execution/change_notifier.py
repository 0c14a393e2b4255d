"""Telling those who wait for tasks of this worker: one message for all that changed meanwhile.

News inside the journal's commits would take a lock over the whole server with each of them.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable

import structlog
from django.db import DatabaseError, InterfaceError, connection

from tasks_app.notifications.changes import publish_changes
from tasks_app.worker.database import Database

PAUSE_SECONDS = 0.05  # seconds between messages
RETRY_SECONDS = 1.0  # seconds until a database that failed is told again
CLOSE_SECONDS = 1.0  # seconds that an ending worker tries to tell

log = structlog.get_logger(__name__)


class ChangeNotifier:
    """Announces changed tasks on a connection of its own; of the event loop's thread alone.

    1. The first change after a quiet time is told at once.
    2. What changes during a message or within PAUSE after it is told together by the next.
    3. While the database is away the changes are kept. Who waits finds them by looking, too.
    """

    def __init__(
        self,
        *,
        publish: Callable[[Iterable[uuid.UUID]], None] = publish_changes,
        pause: float = PAUSE_SECONDS,
    ) -> None:
        self._publish = publish
        self._pause = pause
        self._database = Database(threads=1)
        self._changed: set[uuid.UUID] = set()
        self._notifying: asyncio.Task[None] | None = None
        self._is_supported = connection.vendor == "postgresql"

    def notify(self, task_ids: Iterable[uuid.UUID]) -> None:
        """Announce soon that these tasks have changed; what was written is committed."""
        if not self._is_supported:
            return
        self._changed.update(task_ids)
        if self._changed and (self._notifying is None or self._notifying.done()):
            self._notifying = asyncio.create_task(self._notify_until_quiet())

    async def close(self) -> None:
        """Tell what is left, if that is quickly done, and end."""
        if self._notifying is not None:
            await asyncio.wait([self._notifying], timeout=CLOSE_SECONDS)
            self._notifying.cancel()
        self._database.close()

    async def _notify_until_quiet(self) -> None:
        while self._changed:
            changed, self._changed = self._changed, set()
            try:
                await self._database.run(self._publish, changed)
            except (DatabaseError, InterfaceError):
                log.warning("notify.failed", tasks=len(changed))
                self._changed |= changed
                await asyncio.sleep(RETRY_SECONDS)
            await asyncio.sleep(self._pause)
