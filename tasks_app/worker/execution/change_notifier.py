"""Telling those who wait for tasks of this worker: one message for all that changed meanwhile.

News inside the journal's commits would take a lock over the whole server with each of them.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable

import structlog
from django.db import DatabaseError, InterfaceError, connection

from tasks_app.notifications.changes import announce
from tasks_app.worker.database import Database

PAUSE = 0.05  # seconds between messages
AWAY = 1.0  # seconds until a database that failed is told again
LAST_WORDS = 1.0  # seconds that an ending worker tries to tell

log = structlog.get_logger(__name__)


class Teller:
    """Announces changed tasks on a connection of its own; of the event loop's thread alone.

    1. The first change after a quiet time is told at once.
    2. What changes during a message or within PAUSE after it is told together by the next.
    3. While the database is away the changes are kept. Who waits finds them by looking, too.
    """

    def __init__(
        self, *, tell: Callable[[Iterable[uuid.UUID]], None] = announce, pause: float = PAUSE
    ) -> None:
        self._announce = tell
        self._pause = pause
        self._database = Database(threads=1)
        self._changed: set[uuid.UUID] = set()
        self._telling: asyncio.Task[None] | None = None
        self._useful = connection.vendor == "postgresql"

    def tell(self, task_ids: Iterable[uuid.UUID]) -> None:
        """Announce soon that these tasks have changed; what was written is committed."""
        if not self._useful:
            return
        self._changed.update(task_ids)
        if self._changed and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._tell_until_quiet())

    async def close(self) -> None:
        """Tell what is left, if that is quickly done, and end."""
        if self._telling is not None:
            await asyncio.wait([self._telling], timeout=LAST_WORDS)
            self._telling.cancel()
        self._database.close()

    async def _tell_until_quiet(self) -> None:
        while self._changed:
            changed, self._changed = self._changed, set()
            try:
                await self._database.run(self._announce, changed)
            except (DatabaseError, InterfaceError):
                log.warning("tell.failed", tasks=len(changed))
                self._changed |= changed
                await asyncio.sleep(AWAY)
            await asyncio.sleep(self._pause)
