"""Why a task stands where it stands: one code with parameters, and one line made of them.

The line has no durations and no ranks, so that it changes only when the task does. Staff are told
more: what changes with the clock, with the workers and with other tasks.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from agent_runtime.outcome import DESCRIPTIONS, StopReason
from tasks_app.queries.tasks import TaskDetail
from tasks_app.states import Status, WorkerState


class Code(StrEnum):
    """What a task is doing, or why it ended."""

    QUEUED = "queued"  # never started
    RESUMING = "resuming"  # handed back, or retried; goes on from its last step
    TAKEN_OVER = "taken_over"  # its worker died; goes on from its last step
    WAITING_TO_RETRY = "waiting_to_retry"  # the world failed; due again at next_attempt_at
    AWAITS_CONNECTION = "awaits_connection"  # its user has to connect something first
    STOPPING = "stopping"  # runs, and was asked to stop
    THINKING = "thinking"  # the model was asked
    CALLING = "calling"  # a tool call is on the wire
    COMPLETED = "completed"  # the agent finished
    INCOMPLETE = "incomplete"  # it stopped with partial work
    NEEDS_CONNECTION = "needs_connection"  # it stopped, and lacked what the user must connect
    FAILED = "failed"  # it errored
    PAUSED = "paused"  # its project or tenant is, or is disabled; nothing of it is claimed
    # Told from more than the row:
    NO_WORKER = "no_worker"  # it is due, and there is nobody to claim it
    WORKER_SILENT = "worker_silent"  # the worker that holds it misses its heartbeats
    HANDING_OVER = "handing_over"  # the worker that holds it shuts down


SWEPT_WITHIN = 3  # seconds after the end of a lease until its tasks are free


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusDetail:
    """Where a task stands; the parameters are those that its code's sentence names."""

    code: Code
    parameters: Mapping[str, str | int] = field(default_factory=dict)


_SENTENCES: Mapping[Code, str] = {
    Code.QUEUED: "Waiting for a worker.",
    Code.RESUMING: "Waiting for a worker to go on after step {steps}.",
    Code.TAKEN_OVER: "Its worker stopped; waiting for another to go on after step {steps}.",
    Code.WAITING_TO_RETRY: "Waiting to try step {step} again after attempt {attempt}: {reason}",
    Code.AWAITS_CONNECTION: "Waiting for {user} to connect {servers}.",
    Code.STOPPING: "Stopping, as asked.",
    Code.THINKING: "Step {step}: waiting for the model's answer.",
    Code.CALLING: "Step {step}: waiting for {call}.",
    Code.COMPLETED: "Finished: the agent has reported.",
    Code.INCOMPLETE: "Stopped: {why}.",
    Code.NEEDS_CONNECTION: "Stopped: {why}. {user} must connect {servers}.",
    Code.FAILED: "Failed: {error}",
    Code.PAUSED: "Its {what}.",
    Code.NO_WORKER: "No worker is running.",
    Code.WORKER_SILENT: "Its worker stopped answering.",
    Code.HANDING_OVER: "Its worker is shutting down and hands it over after this step.",
}


_QUOTING = ("error", "reason")
_HIDDEN = "what was answered is for those who may see payloads."


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusContext:
    """What staff are told beyond the row.

    `ahead` are the due tasks of the tenant before this one, `workers` those that claim. Of the
    worker that holds it: its state, and the seconds since its last heartbeat and to the end of
    its lease; `silent_after` is how many of the former are too many. `since` is when what it
    does began.
    """

    now: datetime.datetime
    since: datetime.datetime
    ahead: int = 0
    workers: int = 1
    worker_state: WorkerState | None = None
    heartbeat_age: int = 0
    lease_left: int = 0
    silent_after: float = 10.0


def describe_status(task: TaskDetail, context: StatusContext | None = None) -> StatusDetail:
    """Return where the task stands, told from its row alone or from its surroundings, too."""
    detail = _alone(task)
    if context is None or task.status.terminal:
        return detail
    if task.status is Status.RUNNING:
        return _held(detail, context)
    return _waiting(detail, task, context)


def without_payload(detail: StatusDetail) -> StatusDetail:
    """Return the same for those who may not read what a model, a tool or a user said.

    Faults quote what they were answered.
    """
    hidden = {
        name: _HIDDEN if name in _QUOTING else value for name, value in detail.parameters.items()
    }
    return replace(detail, parameters=hidden)


def _waiting(detail: StatusDetail, task: TaskDetail, context: StatusContext) -> StatusDetail:
    if detail.code in (Code.PAUSED, Code.AWAITS_CONNECTION):
        return detail
    left = (task.next_attempt_at - context.now).total_seconds()
    if left <= 0 and not context.workers:
        return StatusDetail(code=Code.NO_WORKER, parameters={"seconds": int(-left)})
    more = {"seconds": int(abs(left)), "due": int(left <= 0), "ahead": context.ahead}
    return replace(detail, parameters={**detail.parameters, **more})


def _held(detail: StatusDetail, context: StatusContext) -> StatusDetail:
    if context.heartbeat_age > context.silent_after:
        within = max(0, context.lease_left) + SWEPT_WITHIN
        seconds = {"seconds": context.heartbeat_age, "within": within}
        return StatusDetail(code=Code.WORKER_SILENT, parameters=seconds)
    if context.worker_state is WorkerState.DRAINING and detail.code is not Code.STOPPING:
        return StatusDetail(code=Code.HANDING_OVER)
    seconds = {"seconds": max(0, int((context.now - context.since).total_seconds()))}
    return replace(detail, parameters={**detail.parameters, **seconds})


def _alone(task: TaskDetail) -> StatusDetail:
    match task.status:
        case Status.PENDING:
            return _pending(task)
        case Status.RUNNING:
            return _running(task)
        case Status.COMPLETED:
            return StatusDetail(code=Code.COMPLETED)
        case Status.INCOMPLETE:
            why = DESCRIPTIONS[task.stop_reason or StopReason.NO_FINAL_REPORT]
            if task.authentication_needed and task.stop_reason is not StopReason.CANCELLED:
                parameters = {"why": why, **_who_connects(task)}
                return StatusDetail(code=Code.NEEDS_CONNECTION, parameters=parameters)
            return StatusDetail(code=Code.INCOMPLETE, parameters={"why": why})
    return StatusDetail(code=Code.FAILED, parameters={"error": task.error or ""})


def _who_connects(task: TaskDetail) -> dict[str, str]:
    return {"user": task.user_email, "servers": ", ".join(task.authentication_needed)}


def _pending(task: TaskDetail) -> StatusDetail:
    if task.suspended:
        return StatusDetail(code=Code.PAUSED, parameters={"what": task.suspended})
    if task.awaits_connection:
        return StatusDetail(code=Code.AWAITS_CONNECTION, parameters=_who_connects(task))
    if task.attempt:
        reason = task.waiting_reason or "it did not succeed."
        return StatusDetail(
            code=Code.WAITING_TO_RETRY,
            parameters={
                "step": task.steps_completed + 1,
                "attempt": task.attempt,
                "reason": reason,
            },
        )
    if task.crashes:
        return StatusDetail(code=Code.TAKEN_OVER, parameters={"steps": task.steps_completed})
    if task.started_at is None:
        return StatusDetail(code=Code.QUEUED)
    return StatusDetail(code=Code.RESUMING, parameters={"steps": task.steps_completed})


def _running(task: TaskDetail) -> StatusDetail:
    if task.cancel_requested_at is not None:
        return StatusDetail(code=Code.STOPPING)
    if task.calling is not None:
        return StatusDetail(
            code=Code.CALLING, parameters={"step": task.steps_completed, "call": task.calling}
        )
    return StatusDetail(code=Code.THINKING, parameters={"step": task.steps_completed + 1})


def text(detail: StatusDetail) -> str:
    """Return the line for people: no durations, no ranks, no line breaks."""
    line = _SENTENCES[detail.code].format(**detail.parameters)
    return " ".join(line.split())
