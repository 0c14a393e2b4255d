"""A worker's share in what staff asked to be done with many tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from django.db import DatabaseError
from django.utils import timezone

from tasks_app.operations.bulk import work_on

EVERY = 2.0  # seconds between looks, when there is nothing to do
PAUSE = 0.05  # seconds between portions, when there is

log = structlog.get_logger(__name__)


async def work(run_unit: Callable[..., Awaitable[Any]], draining: asyncio.Event) -> None:
    """Do portions of bulk operations until told to stop."""
    while not draining.is_set():
        more = False
        try:
            more = await run_unit(work_on, now=timezone.now())
        except DatabaseError:  # away, or refused: the next look finds the same rows
            log.warning("bulk.database_failed", exc_info=True)
        await asyncio.sleep(PAUSE if more else EVERY)
