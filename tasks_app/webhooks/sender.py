"""A worker's sender: it empties the outbox beside the tasks that the worker drives."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from django.db import DatabaseError

from agent_runtime.net.address_guard import AddressGuard
from caylex_project.db.outage import is_outage
from tasks_app.webhooks.client import post
from tasks_app.webhooks.deliveries import (
    DeliveryResult,
    OutgoingMessage,
    claim_messages,
    record_outcome,
)
from tasks_app.webhooks.fair import MAX_CONCURRENT, Lane

LOOK_EVERY = 1.0  # seconds between looks at the rows
LOOK_AGAIN = 0.05  # seconds, while there was something
BROKE = "It could not be sent, for a fault of ours; the worker's log has it."

log = structlog.get_logger(__name__)


class Sender:
    """Claims due messages and sends up to `fair.MAX_ENTRIES` of them at once.

    `run_unit` runs a function on a database thread; `insist` does so until the database answers.
    `clock` tells the database's time. A try that is broken off costs its message a delay: it is due
    again when its lease ends.
    """

    def __init__(
        self,
        *,
        guard: AddressGuard,
        run_unit: Callable[..., Awaitable[Any]],
        insist: Callable[..., Awaitable[Any]],
        clock: Callable[[], datetime.datetime],
    ) -> None:
        self._guard = guard
        self._run_unit = run_unit
        self._insist = insist
        self._clock = clock
        self._under_way: dict[asyncio.Task[None], Lane] = {}
        self._again = False

    async def run(self, draining: asyncio.Event) -> None:
        """Send what is due until told to stop; what is under way then goes on by itself."""
        while not draining.is_set():
            try:
                await self.claim_and_send()
            except DatabaseError as error:  # the next look finds the same rows
                log.warning("webhook.database_failed", exc_info=not is_outage(error))
                self._again = False
            await asyncio.sleep(LOOK_AGAIN if self._again else LOOK_EVERY)

    async def claim_and_send(self) -> int:
        """Claim what there is room for and begin to send it; return how many."""
        self._again = False
        if len(self._under_way) >= MAX_CONCURRENT:
            return 0
        lanes = list(self._under_way.values())
        claimed = await self._run_unit(claim_messages, under_way=lanes, now=self._clock())
        self._again = claimed.again
        for message in claimed.messages:
            task = asyncio.create_task(self._deliver(message))
            self._under_way[task] = message.lane
            task.add_done_callback(self._ended)
        return len(claimed.messages)

    async def close(self) -> None:
        """Break off what is under way."""
        for task in list(self._under_way):
            task.cancel()
        await self.settled()

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        if self._under_way:
            await asyncio.wait(list(self._under_way))

    async def _deliver(self, message: OutgoingMessage) -> None:
        try:
            outcome = await post(message=message, guard=self._guard, now=self._clock())
        except Exception:  # a try like any other, or its message would come round for ever
            log.exception("webhook.broke", delivery=str(message.id))
            outcome = DeliveryResult(error=BROKE)
        await self._insist(record_outcome, message=message, outcome=outcome, now=self._clock())
        log.info(
            "webhook.sent" if outcome.delivered else "webhook.not_taken",
            delivery=str(message.id),
            status=outcome.status,
            attempt=message.attempts + 1,
            **({"why": outcome.error} if outcome.error else {}),
        )

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        if not task.cancelled() and task.exception() is not None:
            log.error("webhook.broke", exc_info=task.exception())
