"""Asking the model for a task in hand, until the task is asked to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from agent_runtime.messages import Message, ModelAnswer
from agent_runtime.ports import Model, ModelRequest
from tasks_app.worker.execution.active_task import ActiveTask

CLOSING_SECONDS = 60.0  # what the last call for the report may take, whatever the limits say


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """The model with the time that one answer may take, in seconds."""

    model: Model
    timeout: float

    async def ask(
        self,
        held: ActiveTask,
        messages: Sequence[Message],
        *,
        words_only: bool,
        closing: bool = False,
    ) -> ModelAnswer | None:
        """Return the model's answer; None when the task was asked to stop first."""

        def give_up(_: asyncio.Future[str]) -> None:
            with suppress(RuntimeError):  # the answer came first, by a hair
                waiting.reschedule(asyncio.get_running_loop().time())

        request = self._request(held, messages, words_only=words_only, closing=closing)
        held.cancelling.add_done_callback(give_up)
        try:
            async with asyncio.timeout(None) as waiting:
                return await self.model.complete(request)
        except TimeoutError:
            if not waiting.expired():
                raise
            return None
        finally:
            held.cancelling.remove_done_callback(give_up)

    def _request(
        self, held: ActiveTask, messages: Sequence[Message], *, words_only: bool, closing: bool
    ) -> ModelRequest:
        left = held.transcript.deadline - held.time
        return ModelRequest(
            model=held.model,
            messages=messages,
            tools=held.toolbox.offered,
            tools_disabled=words_only,
            timeout=min(self.timeout, CLOSING_SECONDS if closing else left),
            call_ids=held.transcript.call_ids,
            adaptation=held.transcript.adaptation,
        )
