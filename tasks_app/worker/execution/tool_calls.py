"""Running the calls of one step: side by side, each result on disk before the next turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from agent_runtime.limits import MAX_PARALLEL_CALLS
from agent_runtime.messages import Call, CallState, ToolResult
from tasks_app.worker.execution.active_task import ActiveTask
from tasks_app.worker.journal import outcomes
from tasks_app.worker.journal.entries import Stopped

OUT_OF_TIME = "The run's time limit was reached before an answer came."
STOPPED = "The task was stopped before an answer came."
CANCEL_GRACE_SECONDS = 0.7  # seconds that calls on the wire get when the task is asked to stop


def unknown_outcome(why: str) -> ToolResult:
    """Return what the agent is told of a call that was sent and whose answer is lost."""
    return ToolResult(
        text=f"{why} It may or may not have happened. Check before you repeat it.",
        state=CallState.UNKNOWN_OUTCOME,
    )


def settle_in_doubt_calls(calls: Sequence[Call]) -> list[Call]:
    """Settle what a lost owner left STARTED without a result; return the calls that ended.

    A repeatable call stays STARTED and is sent again with the same key. Any other is not: its
    outcome is unknown.
    """
    doubtful = [c for c in calls if c.state is CallState.STARTED and not c.tool_is_repeatable]
    for call in doubtful:
        call.end(unknown_outcome("The connection was lost after this call had been sent."))
    return doubtful


async def run_calls(
    active: ActiveTask, calls: Sequence[Call], *, draining: Callable[[], bool]
) -> bool:
    """Run calls until each has its result on disk; True when the task was handed back instead.

    1. Send what is STARTED. What is PLANNED becomes STARTED in a commit before it is sent.
    2. Wait until at least one ends; results that are there together share a commit, which also
       starts as many of the PLANNED as places became free.
    3. At the run's deadline what still runs is given up. When the task is asked to stop it is
       given a moment first.
    4. While draining nothing is started, and the commit of the last results hands the task back
       if calls are left.
    5. A commit that is refused because of a cancel or a pause started nothing: it is made again
       without its starts.
    """
    planned = [call for call in calls if call.state is CallState.PLANNED]
    running = {_send(active, call): call for call in calls if call.state is CallState.STARTED}
    ended: list[Call] = []  # and not on disk yet
    try:
        while running or planned or ended:
            ended += await _wait(active, running) if not ended else []
            if active.cancelling.done():
                ended += await _within_grace(active, running)
                ended += _give_up(running, planned, STOPPED)
            elif active.time >= active.transcript.deadline:
                ended += _give_up(running, planned, OUT_OF_TIME)
            starting = [] if draining() else planned[: MAX_PARALLEL_CALLS - len(running)]
            for call in starting:
                call.state = CallState.STARTED
            handing_back = bool(planned) and not running and draining()
            release = outcomes.handed_back() if handing_back else None
            try:
                await active.commit_calls([*ended, *starting], release=release)
            except Stopped as stopped:
                active.stop(stopped)
                take_back(starting)
                continue
            if handing_back:
                return True
            ended, planned = [], planned[len(starting) :]
            running |= {_send(active, call): call for call in starting}
    finally:
        for task in running:
            task.cancel()
    active.transcript.append_results()
    return False


def take_back(calls: Iterable[Call]) -> None:
    """Return calls to PLANNED that were not sent: nothing of them is in doubt."""
    for call in calls:
        call.state = CallState.PLANNED


def _send(active: ActiveTask, call: Call) -> asyncio.Task[ToolResult]:
    return asyncio.create_task(active.toolbox.call(call))


async def _wait(active: ActiveTask, running: dict[asyncio.Task[ToolResult], Call]) -> list[Call]:
    """Return the calls that ended, at least one unless none runs or the time is up."""
    if not running or active.cancelling.done():
        return []
    left = max(0.0, active.transcript.deadline - active.time)
    waiting: set[asyncio.Future[Any]] = {*running, active.cancelling}
    await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
    return _collect(active, running)


async def _within_grace(
    active: ActiveTask, running: dict[asyncio.Task[ToolResult], Call]
) -> list[Call]:
    """Return the calls that still end within what is left for a task that was asked to stop."""
    if running:
        await asyncio.wait(running, timeout=CANCEL_GRACE_SECONDS)
    return _collect(active, running)


def _collect(active: ActiveTask, running: dict[asyncio.Task[ToolResult], Call]) -> list[Call]:
    ended = []
    for task in [task for task in running if task.done()]:
        call = running.pop(task)
        call.end(active.transcript.fit(call, task.result(), most_kept=active.most_kept))
        ended.append(call)
    return ended


def _give_up(
    running: dict[asyncio.Task[ToolResult], Call], planned: list[Call], why: str
) -> list[Call]:
    """End everything that is left, without an answer."""
    calls = [*running.values(), *planned]
    for task in running:
        task.cancel()
    for call in calls:
        if call.state is CallState.STARTED and not call.tool_is_repeatable:
            call.end(unknown_outcome(why))
        else:
            call.end(ToolResult(text=why, state=CallState.CANCELLED))
    running.clear()
    planned.clear()
    return calls
