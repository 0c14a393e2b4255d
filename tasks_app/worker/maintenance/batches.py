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


class NextPortion(Protocol):
    """Does the next portion; True when there may be more at once."""

    __name__: str

    def __call__(self, *, now: datetime.datetime) -> bool: ...


async def work(
    next_portion: NextPortion,
    run_unit: Callable[..., Awaitable[Any]],
    draining: asyncio.Event,
) -> None:
    """Do portions until told to stop."""
    while not draining.is_set():
        more = False
        try:
            more = await run_unit(next_portion, now=clock.now())
        except Error as error:  # the next look finds the same rows
            log.warning("portion.failed", of=next_portion.__name__, exc_info=not is_outage(error))
        await asyncio.sleep(PAUSE if more else EVERY)
