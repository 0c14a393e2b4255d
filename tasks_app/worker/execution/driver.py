"""Driving one claimed task, from its rows to its end, its next wait, or the hand-back."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace

from agent_runtime.errors import ContextTooLong, ModelError
from agent_runtime.loop import AskModel, RunCalls, next_action
from agent_runtime.messages import Call, CallState, ModelAnswer, ToolResult, Turn, user_message
from agent_runtime.outcome import Outcome, StopReason
from agent_runtime.planning import plan_calls
from agent_runtime.ports import Model, ModelRequest
from tasks_app.operations.terminate import NOT_SENT
from tasks_app.worker.execution.active_task import ActiveTask
from tasks_app.worker.execution.tool_calls import run_calls, settle_in_doubt_calls, take_back
from tasks_app.worker.journal import outcomes
from tasks_app.worker.journal.entries import Release, Stopped

CLOSING_SECONDS = 60.0  # what the last call for the report may take, whatever the limits say


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """Drives tasks of one worker. `draining` is set when the worker is told to end.

    With `one_turn` a task is handed back as soon as a turn of it is through: in quarantine that
    clears it, and a long task must not keep the others there waiting.
    """

    model: Model
    model_timeout: float
    max_attempts: int
    draining: asyncio.Event
    one_turn: bool = False

    async def drive(self, active: ActiveTask) -> None:
        """Drive a task until it is let go. Raises Fenced when it was taken over.

        1. Settle the calls that a lost owner left in doubt.
        2. While neither the worker is told to end nor the task's project is paused: do what the
           loop says. A model's answer is on disk before its calls are sent; their results are on
           disk before the model is asked again; the end goes into the commit of the last answer
           or result.
        3. The task is asked to stop: end it with an account of what had been done.
        4. Told to end, paused, or through with the one turn: hand back, if the last commit did not.
           Calls that the last commit made STARTED are part of its turn: they are sent, so that
           nobody has to doubt them.
        """
        await self._settle_in_doubt_calls(active)
        active.transcript.offered = frozenset(tool.name for tool in active.toolbox.offered)
        began = active.sequence
        while (
            active.cancelling.done() or not self._should_release(active) or _calls_to_send(active)
        ):
            if active.cancelling.done():
                await self._end_cancelled(active)
                return
            action = next_action(active.transcript, now=active.time)
            match action:
                case AskModel():
                    released = await self._step(active, action)
                case RunCalls():
                    released = await run_calls(
                        active, action.calls, draining=lambda: self._should_release(active)
                    )
                case Outcome():
                    await active.release(outcomes.ended(action, active.transcript))
                    released = True
            if released:
                return
            if self.one_turn and active.sequence != began and not _open_calls(active):
                break
        await active.release(outcomes.handed_back(), attempt=active.attempt)

    def _should_release(self, active: ActiveTask) -> bool:
        """Tell whether nothing new is to be begun with the task here and now."""
        return self.draining.is_set() or active.pausing

    async def _end_cancelled(self, active: ActiveTask) -> None:
        """End the task; what is open was not sent by us, so that nothing of it is in doubt."""
        calls = _open_calls(active)
        for call in calls:
            call.end(ToolResult(text=NOT_SENT, state=CallState.CANCELLED))
        if calls:
            active.transcript.append_results()
        reason = active.cancelling.result()
        await active.commit_calls(
            calls, release=outcomes.cancelled(active.transcript, reason=reason)
        )

    async def _settle_in_doubt_calls(self, active: ActiveTask) -> None:
        turn = active.transcript.turn
        if turn is None or not turn.open_calls:
            return
        ended = settle_in_doubt_calls(turn.open_calls)
        if ended:
            await active.commit_calls(ended)
        if not turn.open_calls:
            active.transcript.append_results()

    async def _step(self, active: ActiveTask, action: AskModel) -> bool:
        """Ask the model and commit its answer; True when the task was let go with it."""
        started_at = active.clock()
        try:
            answer = await self._ask(active, action)
        except ModelError as fault:
            return await self._release_after_error(active, action, fault)
        if answer is None:
            return False
        turn = self._turn(active, action, answer)
        active.transcript.add(turn)
        while True:
            release = self._release(active, turn)
            try:
                await active.commit_step(turn, started_at=started_at, release=release)
            except Stopped as stopped:
                active.stop(stopped)
                take_back(turn.open_calls)
            else:
                return release is not None

    async def _ask(self, active: ActiveTask, action: AskModel) -> ModelAnswer | None:
        """Return the model's answer; None when the task was asked to stop first."""

        def give_up(_: asyncio.Future[str]) -> None:
            with suppress(RuntimeError):  # the answer came first, by a hair
                waiting.reschedule(asyncio.get_running_loop().time())

        active.cancelling.add_done_callback(give_up)
        try:
            async with asyncio.timeout(None) as waiting:
                return await self.model.complete(self._request(active, action))
        except TimeoutError:
            if not waiting.expired():
                raise
            return None
        finally:
            active.cancelling.remove_done_callback(give_up)

    def _request(self, active: ActiveTask, action: AskModel) -> ModelRequest:
        left = active.transcript.deadline - active.time
        return ModelRequest(
            model=active.model,
            messages=[*active.transcript.messages, *map(user_message, action.notes)],
            tools=active.toolbox.offered,
            tools_disabled=action.closing is not None,
            timeout=min(self.model_timeout, CLOSING_SECONDS if action.closing else left),
            call_ids=active.transcript.call_ids,
            adaptation=active.transcript.adaptation,
        )

    def _turn(self, active: ActiveTask, action: AskModel, answer: ModelAnswer) -> Turn:
        calls = plan_calls(
            answer,
            transcript=active.transcript,
            toolbox=active.toolbox,
            closing=action.closing is not None,
            keys=[str(uuid.uuid4()) for _ in answer.requests],
        )
        return Turn(
            index=active.transcript.steps + 1,
            notes=(*action.notes, *answer.notes),
            answer=answer,
            calls=calls,
            closing=action.closing,
        )

    def _release(self, active: ActiveTask, turn: Turn) -> Release | None:
        """Return how the commit of this turn lets the task go, if it does."""
        after = next_action(active.transcript, now=active.time)
        if isinstance(after, Outcome):
            return outcomes.ended(after, active.transcript)
        if not self._should_release(active):
            return None
        take_back(turn.open_calls)
        return outcomes.handed_back()

    async def _release_after_error(
        self, active: ActiveTask, action: AskModel, fault: ModelError
    ) -> bool:
        """Let the task go after a fault of the model, unless only its own time was up.

        Without an answer to the closing call, or with a transcript that does not fit the model's
        window, the run ends with the engine's account.
        """
        outcome = _ending_of(action, fault)
        if outcome is not None:
            await active.release(outcomes.ended(outcome, active.transcript))
            return True
        if active.time >= active.transcript.deadline:
            return False
        attempt = active.attempt + 1
        release = outcomes.after_model_error(fault, attempt=attempt, max_attempts=self.max_attempts)
        if self._should_release(active) and not release.status.terminal:
            release = replace(release, event="handed_back")
        await active.release(outcomes.with_account(release, active.transcript), attempt=attempt)
        return True


def _ending_of(action: AskModel, fault: ModelError) -> Outcome | None:
    """Return how the run ends where asking again is of no use."""
    if action.closing:
        return Outcome(completed=False, reason=action.closing)
    if isinstance(fault, ContextTooLong):
        return Outcome(completed=False, reason=StopReason.CONTEXT_FULL, detail=str(fault))
    return None


def _open_calls(active: ActiveTask) -> list[Call]:
    turn = active.transcript.turn
    return turn.open_calls if turn else []


def _calls_to_send(active: ActiveTask) -> bool:
    return any(call.state is CallState.STARTED for call in _open_calls(active))
