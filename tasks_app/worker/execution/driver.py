"""Driving one claimed task, from its rows to its end, its next wait, or the hand-back."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from dataclasses import dataclass, replace

from agent_runtime.context.window import window_after_refusal
from agent_runtime.errors import ContextTooLong, ModelError
from agent_runtime.loop import AskModel, RunCalls, Summarise, next_action
from agent_runtime.messages import Call, CallState, ModelAnswer, ToolResult, Turn, user_message
from agent_runtime.outcome import Outcome, StopReason
from agent_runtime.planning import plan_calls
from agent_runtime.ports import Model
from tasks_app.operations.terminate import NOT_SENT
from tasks_app.worker.execution.active_task import ActiveTask
from tasks_app.worker.execution.model_calls import Asking
from tasks_app.worker.execution.summaries import summarise
from tasks_app.worker.execution.tool_calls import run_calls, settle_in_doubt_calls, take_back
from tasks_app.worker.journal import outcomes
from tasks_app.worker.journal.entries import Release, Stopped

CONNECTION_WAIT = datetime.timedelta(days=7)  # that a run waits for its user's connection


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

        1. Settle the calls that a lost owner left in doubt. A run that has not begun and lacks
           what its user has to connect waits for it, where that was asked for.
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
        if await self._waits_for_connection(active):
            return
        active.transcript.offered = frozenset(tool.name for tool in active.toolbox.offered)
        began = active.sequence
        while (
            active.cancelling.done() or not self._should_release(active) or _calls_to_send(active)
        ):
            if active.cancelling.done():
                await self._end_cancelled(active)
                return
            active.use_window()
            action = next_action(active.transcript, now=active.time)
            match action:
                case AskModel():
                    released = await self._step(active, action)
                case Summarise():
                    released = await self._summarise(active, action)
                case RunCalls():
                    released = await run_calls(
                        active, action.calls, draining=lambda: self._should_release(active)
                    )
                case Outcome():
                    released = await self._end(active, action)
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

    async def _waits_for_connection(self, active: ActiveTask) -> bool:
        """Let a run go before its first step until its user has connected what it lacks."""
        known, servers = active.connections, active.unconnected()
        begun = active.transcript.turn is not None or active.cancelling.done()
        if begun or not known.waits or not servers:
            return False
        now = active.clock()
        until = known.wait_until or now + CONNECTION_WAIT
        if now >= until:
            return False
        release = outcomes.awaits_connection(
            until=until, wait=(until - now).total_seconds(), user=known.user, servers=servers
        )
        await active.release(release, attempt=active.attempt)
        return True

    async def _step(self, active: ActiveTask, action: AskModel) -> bool:
        """Ask the model and commit its answer; True when the task was let go with it."""
        started_at = active.clock()
        if action.mark is not None:
            active.transcript.context.apply(action.mark)
        messages = [*active.transcript.messages, *map(user_message, action.notes)]
        closing = action.closing is not None
        try:
            answer = await self._asking.ask(active, messages, words_only=closing, closing=closing)
        except ContextTooLong as fault:
            return await self._after_overflow(active, action, fault)
        except ModelError as fault:
            if action.closing:
                return await self._end(active, Outcome(completed=False, reason=action.closing))
            return await self._release_after_error(active, fault)
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
                break
        if active.transcript.learned_window is not None:
            await active.learn_window(active.transcript.learned_window)
        return release is not None

    @property
    def _asking(self) -> Asking:
        return Asking(model=self.model, timeout=self.model_timeout)

    async def _summarise(self, active: ActiveTask, action: Summarise) -> bool:
        """Ask for a summary and commit it; True when the task was let go with it."""
        try:
            summary = await summarise(active, action, self._asking)
        except ModelError as fault:
            return await self._release_after_error(active, fault)
        if summary is None:
            return False
        release = outcomes.handed_back() if self._should_release(active) else None
        await active.commit_summary(summary, release=release)
        return release is not None

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
            mark=action.mark,
            caller_notes=action.caller_notes,
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

    async def _after_overflow(
        self, active: ActiveTask, action: AskModel, fault: ContextTooLong
    ) -> bool:
        """Ask with a smaller context from here on; end the run where it cannot be made smaller.

        The refusal teaches the model's window, which the next action of the loop keeps to.
        """
        mark = action.mark
        if mark is not None:
            window = active.transcript.context.window
            learned = window_after_refusal(window, told=fault.window, tokens=mark.tokens)
            await active.learn_window(learned.tokens)
            after = next_action(active.transcript, now=active.time)
            is_smaller = not isinstance(after, AskModel) or (
                after.mark is not None and after.mark.sent < mark.sent
            )
            if is_smaller and not isinstance(after, Outcome):
                return False
        reason = action.closing or StopReason.CONTEXT_FULL
        detail = "" if action.closing else str(fault)
        return await self._end(active, Outcome(completed=False, reason=reason, detail=detail))

    async def _end(self, active: ActiveTask, outcome: Outcome) -> bool:
        await active.release(outcomes.ended(outcome, active.transcript))
        return True

    async def _release_after_error(self, active: ActiveTask, fault: ModelError) -> bool:
        """Let the task go after a fault of the model, unless only its own time was up."""
        if active.time >= active.transcript.deadline:
            return False
        attempt = active.attempt + 1
        release = outcomes.after_model_error(fault, attempt=attempt, max_attempts=self.max_attempts)
        if self._should_release(active) and not release.status.terminal:
            release = replace(release, event="handed_back")
        await active.release(outcomes.with_account(release, active.transcript), attempt=attempt)
        return True


def _open_calls(active: ActiveTask) -> list[Call]:
    turn = active.transcript.turn
    return turn.open_calls if turn else []


def _calls_to_send(active: ActiveTask) -> bool:
    return any(call.state is CallState.STARTED for call in _open_calls(active))
