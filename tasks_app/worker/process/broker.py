"""The queue in our own database, hardened: what `Q_CLUSTER["broker_class"]` names.

django-q2's own ORM broker polls, races its neighbours for the same row, and lets database
errors through to a pusher that sleeps ten seconds and dies and to a monitor that just dies.
This one, on PostgreSQL, sleeps on LISTEN with the poll behind it and takes with SKIP LOCKED,
on the database's clock; and on any database what the cluster calls never raises: it logs,
waits and returns nothing. A message that was not acknowledged for it comes again, which is
harmless.

django-q2 makes a new broker for each `async_task` and one for each cluster, which its threads
share. So making one costs no query, and nothing in it belongs to a thread but the listening
connection, which only the pusher uses.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from pickle import UnpicklingError
from typing import Any, TypeVar

from django.db import Error, close_old_connections, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import BadSignature, SignedPackage
from psycopg import Error as DriverError

from tasks_app.notifications import wakeup

logger = logging.getLogger(__name__)

CHANNEL = "caylex_wakeup"
WAKEUP_BATCH = 16  # as many tasks as one look claims at once, so that processes still share
# What signing and pickle raise on what they cannot read.
_UNREADABLE: tuple[type[Exception], ...] = (
    *(BadSignature, UnpicklingError, EOFError, AttributeError),
    *(ImportError, LookupError, TypeError, ValueError),
)

QueueMessage = tuple[int, str]  # primary key and signed payload
Result = TypeVar("Result")


def _never_raising(default: Any) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Let a method of DatabaseBroker answer `default`, after a pause, when the database fails."""

    def decorate(method: Callable[..., Result]) -> Callable[..., Result]:
        @functools.wraps(method)
        def guarded(self: DatabaseBroker, *args: Any) -> Result:
            try:
                if not _connection().in_atomic_block:
                    close_old_connections()
                result = method(self, *args)
            except (Error, DriverError) as error:
                self.database_failed(during=method.__name__, error=error)
                return default  # type: ignore[no-any-return]
            self.database_worked()
            return result

        return guarded

    return decorate


class DatabaseBroker(ORM):  # type: ignore[misc]
    """The broker. `list_key` is the name of the queue."""

    def __init__(self, list_key: str | None = None) -> None:
        super().__init__(list_key=list_key)
        self._listener: BaseDatabaseWrapper | None = None
        self._away = False

    @staticmethod
    def get_connection(list_key: str | None = None) -> Any:
        """Return the messages. Unlike the stock broker's, it opens and closes no connection."""
        return OrmQ.objects.using(Conf.ORM)

    def enqueue(self, task: str) -> int:
        """Add a message and return its key; on PostgreSQL wake those who listen.

        Both join the caller's transaction. The one method that raises: to swallow a failed
        statement would let the caller take a broken transaction for a committed one.
        """
        key = self.list_key or Conf.CLUSTER_NAME
        package = self.get_connection().create(key=key, payload=task, lock=Now())
        if _on_postgresql():
            with _connection().cursor() as cursor:
                cursor.execute(f"NOTIFY {CHANNEL}")
        return int(package.pk)

    @_never_raising(None)
    def dequeue(self) -> list[QueueMessage] | None:
        """Return messages and lock them for `retry` seconds, or None after `poll` seconds.

        1. On PostgreSQL listen, before looking: a knock after the look then still wakes us.
        2. Look; if something is due, take it.
        3. Otherwise sleep until a knock or until `poll` is over, and look once more.
        """
        try:
            return self._take() or self._sleep_and_take()
        except (Error, DriverError):
            self.stop_listening()
            raise

    @_never_raising(None)
    def acknowledge(self, task_id: int) -> None:
        """Delete a message that was worked on; if that fails it comes again."""
        super().delete(task_id)

    @_never_raising(None)
    def delete(self, task_id: int) -> None:
        """Delete a message."""
        super().delete(task_id)

    @_never_raising(None)
    def fail(self, task_id: int) -> None:
        """Delete a message that cannot be read."""
        super().delete(task_id)

    @_never_raising(0)
    def queue_size(self) -> int:
        """Return the number of messages that wait."""
        return int(super().queue_size())

    @_never_raising(0)
    def lock_size(self) -> int:
        """Return the number of messages that were taken and not acknowledged."""
        return int(super().lock_size())

    @_never_raising(0)
    def purge_queue(self) -> int:
        """Delete all messages of this queue and return their number."""
        return int(super().purge_queue()[0])

    def database_failed(self, *, during: str, error: Exception) -> None:
        """Say once that the database is away, and wait."""
        if not self._away:
            logger.warning("The queue's database failed in %s: %s", during, error)
            self._away = True
        time.sleep(Conf.POLL)

    def database_worked(self) -> None:
        """Say once that the database is back."""
        if self._away:
            logger.warning("The queue's database is back.")
            self._away = False

    def _sleep_and_take(self) -> list[QueueMessage] | None:
        if self._listener is None:
            time.sleep(Conf.POLL)
            return None
        for _ in self._listener.connection.notifies(timeout=Conf.POLL, stop_after=1):
            pass
        return self._take() or None

    def _take(self) -> list[QueueMessage]:
        """Lock and return what is due; of many knocks one is as good as all."""
        due = self.get_connection().filter(key=self.list_key, lock__lte=Now()).order_by("pk")
        if _on_postgresql():
            self._listen()
        elif not due.exists():  # a transaction is a lock over all of SQLite: not for looking
            return []
        with transaction.atomic(using=Conf.ORM):
            rows = due.select_for_update(skip_locked=True).values_list("pk", "payload")
            found: list[QueueMessage] = list(rows[: max(Conf.BULK, WAKEUP_BATCH)])
            taken, more = found[: Conf.BULK], found[Conf.BULK :]
            if taken:
                messages = self.get_connection().filter(pk__in=[pk for pk, _ in taken])
                messages.update(lock=Now() + timedelta(seconds=Conf.RETRY))
            if more and any(_is_wakeup(payload) for _, payload in taken):
                spare = [pk for pk, payload in more if _is_wakeup(payload)]
                self.get_connection().filter(pk__in=spare).delete()
        return taken

    def _listen(self) -> None:
        if self._listener is None:
            listener = connections.create_connection(Conf.ORM)
            # Of its own, where others borrow from a pool: one that went back would still listen.
            options = {**listener.settings_dict["OPTIONS"], "pool": None}
            listener.settings_dict = {**listener.settings_dict, "OPTIONS": options}
            listener.inc_thread_sharing()  # a pusher that died has a successor
            listener.ensure_connection()
            self._listener = listener
            listener.connection.execute(f"LISTEN {CHANNEL}")

    def stop_listening(self) -> None:
        """Close the listening connection, if there is one."""
        listener, self._listener = self._listener, None
        if listener is not None:
            try:
                listener.close()
            except (Error, DriverError):
                logger.debug("The listening connection was already gone.")


def _connection() -> BaseDatabaseWrapper:
    return connections[Conf.ORM]


def _on_postgresql() -> bool:
    return _connection().vendor == "postgresql"


def _is_wakeup(payload: str) -> bool:
    try:
        return bool(SignedPackage.loads(payload)["func"] == wakeup.FUNCTION)
    except _UNREADABLE:  # whoever takes it will say so
        return False
