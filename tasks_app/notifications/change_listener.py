"""Hearing of changed tasks: the one listener of a process that others wait in."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence

from django.db import Error, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import Error as DriverError

from tasks_app.models import AgentTask
from tasks_app.notifications.changes import CHANNEL, announced
from tasks_app.queries.events import RESTS, version_of

logger = logging.getLogger(__name__)

LOOK_EVERY = 1.0  # seconds between looks at the rows behind LISTEN
LOOK_EVERY_ALONE = 0.15  # seconds, where looking is all there is
EAR = 0.2  # seconds of listening after which it is asked whether to end
FRESH = 3.0  # seconds after a look in which nobody can have gone unheard for long
AWAY = 1.0  # seconds until a database that failed is tried again
ROWS = 500  # in one look's query; SQLite takes so many parameters

TaskIds = Sequence[uuid.UUID]


class ChangeListener(threading.Thread):
    """A thread with a connection of its own that says which of the awaited tasks have changed.

    `awaited` returns the tasks that somebody waits for. `changed` is called with those that were
    told of, `found` with the versions of all that are awaited; a task that is gone has none.
    All three are called on this thread.
    """

    def __init__(
        self,
        *,
        awaited: Callable[[], TaskIds],
        changed: Callable[[TaskIds], None],
        found: Callable[[TaskIds, Mapping[uuid.UUID, str]], None],
    ) -> None:
        super().__init__(name="changes", daemon=True)
        self._awaited = awaited
        self._changed = changed
        self._found = found
        self._ending = threading.Event()
        self._away = False
        self._looked_at = -FRESH

    @property
    def hears(self) -> bool:
        """Tell whether it has looked lately: a connection may hang without an error."""
        return time.monotonic() - self._looked_at < FRESH

    def stop(self) -> None:
        """End soon; join to wait for it."""
        self._ending.set()

    def run(self) -> None:
        """Listen until told to end; while the database is away, try again every second."""
        while not self._ending.is_set():
            try:
                if connection.vendor == "postgresql":
                    self._listen()
                else:
                    self._look_alone()
            except (Error, DriverError) as error:
                self._failed(error)
                self._ending.wait(AWAY)
            finally:
                connections.close_all()

    def _listen(self) -> None:
        """Hear what is told of.

        1. Listen, before looking: what changes after the look is then told of.
        2. Look, because nobody told us of anything while we did not listen.
        3. Hear, and look every second: what a worker did not live to tell of is found that way.
        """
        listener = _connect()
        try:
            listener.connection.execute(f"LISTEN {CHANNEL}")
            self._worked()
            look_at = time.monotonic()
            while not self._ending.is_set():
                if time.monotonic() >= look_at:
                    self._look()
                    look_at = time.monotonic() + LOOK_EVERY
                self._hear(listener, patience=min(EAR, max(0.0, look_at - time.monotonic())))
        finally:
            listener.close()

    def _hear(self, listener: BaseDatabaseWrapper, *, patience: float) -> None:
        told: set[uuid.UUID] = set()
        for notice in listener.connection.notifies(timeout=patience, stop_after=1):
            told.update(announced(notice.payload))
        if told:
            self._changed(list(told))

    def _look_alone(self) -> None:
        while not self._ending.wait(LOOK_EVERY_ALONE):
            self._look()
            self._worked()

    def _look(self) -> None:
        awaited = self._awaited()
        if awaited:
            self._found(awaited, self._versions(awaited))
        self._looked_at = time.monotonic()

    def _versions(self, awaited: TaskIds) -> dict[uuid.UUID, str]:
        versions: dict[uuid.UUID, str] = {}
        for start in range(0, len(awaited), ROWS):
            rows = AgentTask.objects.filter(pk__in=awaited[start : start + ROWS])
            told = rows.annotate(rests=RESTS).values_list(
                "pk", "sequence", "cancel_requested_at", "rests"
            )
            for pk, sequence, asked, rests in told:
                versions[pk] = version_of(sequence=sequence, cancel_requested_at=asked, rests=rests)
        if connection.vendor == "postgresql":
            connection.close()  # it was lent by the pool
        return versions

    def _failed(self, error: Exception) -> None:
        if not self._away:
            logger.warning("Nobody hears of changes, the database failed: %s", error)
        self._away = True
        self._looked_at = -FRESH

    def _worked(self) -> None:
        if self._away:
            logger.warning("Changes are heard of again.")
        self._away = False


def _connect() -> BaseDatabaseWrapper:
    """Return a connection that no pool lends: one that went back would still listen."""
    made = connections.create_connection(connection.alias)
    options = {**made.settings_dict["OPTIONS"], "pool": None}
    made.settings_dict = {**made.settings_dict, "OPTIONS": options}
    made.ensure_connection()
    return made
