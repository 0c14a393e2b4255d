"""Why a task stands where it stands: one code with parameters, and one line made of them.

The line has no durations and no ranks, so that it changes only when the task does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from agent_runtime.endings import SENTENCES, StopReason
from tasks_app.queries import TaskView
from tasks_app.states import Status


class Code(StrEnum):
    """What a task is doing, or why it ended."""

    QUEUED = "queued"  # never started
    RESUMING = "resuming"  # handed back or taken over; goes on from its last step
    WAITING_TO_RETRY = "waiting_to_retry"  # the world failed; due again at next_attempt_at
    STOPPING = "stopping"  # runs, and was asked to stop
    THINKING = "thinking"  # the model was asked
    CALLING = "calling"  # a tool call is on the wire
    COMPLETED = "completed"  # the agent finished
    INCOMPLETE = "incomplete"  # it stopped with partial work
    FAILED = "failed"  # it errored


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a task stands; the parameters are those that its code's sentence names."""

    code: Code
    parameters: Mapping[str, str | int] = field(default_factory=dict)


_SENTENCES: Mapping[Code, str] = {
    Code.QUEUED: "Waiting for a worker.",
    Code.RESUMING: "Waiting for a worker to go on after step {steps}.",
    Code.WAITING_TO_RETRY: "Waiting to try step {step} again after attempt {attempt}: {reason}",
    Code.STOPPING: "Stopping, as asked.",
    Code.THINKING: "Step {step}: waiting for the model's answer.",
    Code.CALLING: "Step {step}: waiting for {call}.",
    Code.COMPLETED: "Finished: the agent has reported.",
    Code.INCOMPLETE: "Stopped: {why}.",
    Code.FAILED: "Failed: {error}",
}


def standing_of(task: TaskView) -> Standing:
    """Return where the task stands, told from its row alone."""
    match task.status:
        case Status.PENDING:
            return _pending(task)
        case Status.RUNNING:
            return _running(task)
        case Status.COMPLETED:
            return Standing(code=Code.COMPLETED)
        case Status.INCOMPLETE:
            why = SENTENCES[task.stop_reason or StopReason.NO_FINAL_REPORT]
            return Standing(code=Code.INCOMPLETE, parameters={"why": why})
    return Standing(code=Code.FAILED, parameters={"error": task.error or ""})


def _pending(task: TaskView) -> Standing:
    if task.attempt:
        reason = task.waiting_reason or "it did not succeed."
        return Standing(
            code=Code.WAITING_TO_RETRY,
            parameters={
                "step": task.steps_completed + 1,
                "attempt": task.attempt,
                "reason": reason,
            },
        )
    if task.started_at is None:
        return Standing(code=Code.QUEUED)
    return Standing(code=Code.RESUMING, parameters={"steps": task.steps_completed})


def _running(task: TaskView) -> Standing:
    if task.cancel_requested_at is not None:
        return Standing(code=Code.STOPPING)
    if task.calling is not None:
        return Standing(
            code=Code.CALLING, parameters={"step": task.steps_completed, "call": task.calling}
        )
    return Standing(code=Code.THINKING, parameters={"step": task.steps_completed + 1})


def sentence(standing: Standing) -> str:
    """Return the line for people: no durations, no ranks, no line breaks."""
    line = _SENTENCES[standing.code].format(**standing.parameters)
    return " ".join(line.split())
