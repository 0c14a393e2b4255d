"""Telling those who wait that tasks have changed: a NOTIFY that lists their ids.

It says "look", like the doorbell, and the rows decide. One that is lost costs who waits a
second, because the listener looks by itself too. SQLite has no NOTIFY: there looking is all.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence

from django.db import connection

CHANNEL = "caylex_changes"
MAX_IDS = 200  # in one message; PostgreSQL takes 8,000 bytes


def publish_changes(task_ids: Iterable[uuid.UUID]) -> None:
    """Tell of changed tasks. Inside a transaction the news is part of it and leaves at its commit.

    A commit with news takes a lock over the whole server: not for what happens all the time.
    """
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        for few in _slices(sorted(set(task_ids))):
            cursor.execute(
                "SELECT pg_notify(%s, %s)", [CHANNEL, " ".join(each.hex for each in few)]
            )


def parse_change_payload(payload: str) -> list[uuid.UUID]:
    """Return the ids that a message lists; what is none is left out."""
    found = []
    for each in payload.split():
        try:
            found.append(uuid.UUID(hex=each))
        except ValueError:
            continue
    return found


def _slices(task_ids: Sequence[uuid.UUID]) -> Iterator[Sequence[uuid.UUID]]:
    for start in range(0, len(task_ids), MAX_IDS):
        yield task_ids[start : start + MAX_IDS]
