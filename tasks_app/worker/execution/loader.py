"""Reads claimed tasks out of their rows: those that were claimed together, together."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Mapping, Sequence

from tasks_app.worker.claiming.claim import MAX_CLAIM_BATCH, Claim
from tasks_app.worker.database import Database
from tasks_app.worker.execution.rebuild import LoadedTask, load_tasks
from tasks_app.worker.journal.journal import Fenced

LoadedTasks = Mapping[uuid.UUID, LoadedTask | BaseException]


class TaskLoader:
    """Reads the records of any number of tasks; nobody waits for company."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asked: list[Claim] = []
        self._batch: asyncio.Task[LoadedTasks] | None = None  # that has not begun to read

    async def load(self, claim: Claim) -> LoadedTask:
        """Return what the rows say of a claimed task; while the database is away it waits.

        Raises Fenced when the task is no longer ours.
        """
        self._asked.append(claim)
        if self._batch is None:  # it begins when all who are about to ask have asked
            self._batch = asyncio.create_task(self._load_batch())
        records = await asyncio.shield(self._batch)
        if claim.task_id not in records:
            raise Fenced(str(claim.task_id))
        record = records[claim.task_id]
        if isinstance(record, BaseException):
            raise record
        return record

    async def _load_batch(self) -> LoadedTasks:
        asked, self._asked, self._batch = self._asked, [], None
        slices = [asked[at : at + MAX_CLAIM_BATCH] for at in range(0, len(asked), MAX_CLAIM_BATCH)]
        found = await asyncio.gather(*map(self._load_slice, slices))
        return dict(itertools.chain.from_iterable(each.items() for each in found))

    async def _load_slice(self, claims: Sequence[Claim]) -> LoadedTasks:
        """Read claims together; one that cannot be read fails alone, whoever came with it."""
        reading = self._database.run_with_retry(
            load_tasks, claims, in_thread=self._database.run_with_retry
        )
        (found,) = await asyncio.gather(reading, return_exceptions=True)
        if not isinstance(found, BaseException):
            return found
        if len(claims) == 1:
            return {claims[0].task_id: found}
        alone = [await self._load_slice([claim]) for claim in claims]
        return dict(itertools.chain.from_iterable(each.items() for each in alone))
