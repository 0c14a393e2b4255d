"""Not every OperationalError means that the database is away."""

import asyncio
import uuid
from collections.abc import Sequence

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from tasks_app.worker.database import Database
from tasks_app.worker.journal.entries import Entry
from tasks_app.worker.journal.journal import Journal

pytestmark = pytest.mark.postgresql


def too_much() -> None:
    """Ask for more JSON than one value may hold, as a batch of huge answers would."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT ('[' || repeat('\"' || repeat('x', 100000) || '\",', 2800) "
            "|| '0]')::jsonb IS NULL"
        )


async def test_what_the_database_will_never_take_fails_and_holds_nobody_up(
    database: Database,
) -> None:
    def write(entries: Sequence[Entry]) -> dict[uuid.UUID, int]:
        if any(entry.attempt == 3 for entry in entries):
            too_much()
        return {entry.task_id: 1 for entry in entries}

    journal = Journal(database, write=write)
    entries = [
        Entry(task_id=uuid.uuid4(), epoch=1, sequence=0, at=timezone.now(), attempt=number)
        for number in range(5)
    ]
    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(*map(journal.commit, entries), return_exceptions=True)
    assert isinstance(outcomes.pop(3), OperationalError)
    assert outcomes == [1] * 4
