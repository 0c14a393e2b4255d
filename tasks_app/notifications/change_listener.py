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
from tasks_app.notifications.changes import CHANNEL, parse_change_payload
from tasks_app.queries.events import SUSPENDED, version_of

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0  # seconds between looks at the rows behind LISTEN
SQLITE_POLL_SECONDS = 0.15  # seconds, where looking is all there is
NOTIFY_TIMEOUT = 0.2  # seconds of listening after which it is asked whether to end
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
        self._polled_at = -FRESH

    @property
    def is_live(self) -> bool:
        """Tell whether it has looked lately: a connection may hang without an error."""
        return time.monotonic() - self._polled_at < FRESH

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
                    self._poll_sqlite()
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
                    self._poll()
                    look_at = time.monotonic() + POLL_SECONDS
                self._receive(
                    listener, patience=min(NOTIFY_TIMEOUT, max(0.0, look_at - time.monotonic()))
                )
        finally:
            listener.close()

    def _receive(self, listener: BaseDatabaseWrapper, *, patience: float) -> None:
        notified: set[uuid.UUID] = set()
        for notice in listener.connection.notifies(timeout=patience, stop_after=1):
            notified.update(parse_change_payload(notice.payload))
        if notified:
            self._changed(list(notified))

    def _poll_sqlite(self) -> None:
        while not self._ending.wait(SQLITE_POLL_SECONDS):
            self._poll()
            self._worked()

    def _poll(self) -> None:
        awaited = self._awaited()
        if awaited:
            self._found(awaited, self._versions(awaited))
        self._polled_at = time.monotonic()

    def _versions(self, awaited: TaskIds) -> dict[uuid.UUID, str]:
        versions: dict[uuid.UUID, str] = {}
        for start in range(0, len(awaited), ROWS):
            rows = AgentTask.objects.filter(pk__in=awaited[start : start + ROWS])
            notified = rows.annotate(is_suspended=SUSPENDED).values_list(
                "pk", "sequence", "cancel_requested_at", "is_suspended"
            )
            for pk, sequence, asked, is_suspended in notified:
                versions[pk] = version_of(
                    sequence=sequence, cancel_requested_at=asked, is_suspended=is_suspended
                )
        if connection.vendor == "postgresql":
            connection.close()  # it was lent by the pool
        return versions

    def _failed(self, error: Exception) -> None:
        if not self._away:
            logger.warning("Nobody hears of changes, the database failed: %s", error)
        self._away = True
        self._polled_at = -FRESH

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
