"""A worker's share in what is done to many tasks, a portion at a time."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog
from django.db import Error

from caylex_project.db.clock import clock
from caylex_project.db.outage import is_outage

EVERY = 1.0  # seconds between looks, when there is nothing to do
PAUSE = 0.05  # seconds between portions, when there is

log = structlog.get_logger(__name__)


class ProcessBatch(Protocol):
    """Does the next portion; True when there may be more at once."""

    __name__: str

    def __call__(self, *, now: datetime.datetime) -> bool: ...


async def run_batches(
    process_batch: ProcessBatch,
    run_unit: Callable[..., Awaitable[Any]],
    draining: asyncio.Event,
) -> None:
    """Do portions until told to stop."""
    while not draining.is_set():
        more = False
        try:
            more = await run_unit(process_batch, now=clock.now())
        except Error as error:  # the next look finds the same rows
            log.warning("batch.failed", of=process_batch.__name__, exc_info=not is_outage(error))
        await asyncio.sleep(PAUSE if more else EVERY)
