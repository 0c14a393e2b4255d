"""Ending a task from its rows, where no owner in memory does it: cancelled, or given up.

The owner of a running task ends it itself (see `worker.drive`); this is for tasks that wait, and
for those whose owner does not answer.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from django.db import transaction

from agent_runtime.messages import CallState
from agent_runtime.outcome import Outcome, StopReason
from agent_runtime.report import failed_report, report_from
from tasks_app.models import AgentTask, Event, ToolCall
from tasks_app.notifications.changes import publish_changes
from tasks_app.notifications.task_log import log_end
from tasks_app.queries.run_facts import facts_of_rows
from tasks_app.states import Status, check_transition
from tasks_app.webhooks.outbox import enqueue_deliveries

NOT_SENT = "Not sent: the task was stopped."
GIVEN_UP = "The task was stopped before an answer came. Repeating the call does no harm."
UNKNOWN = "The task was stopped before an answer came. It may or may not have happened."


def end_cancelled(task: AgentTask, *, now: datetime.datetime) -> None:
    """End a task that was asked to stop: INCOMPLETE, with an account of what had been done.

    The caller holds the lock on the row. Whatever an owner still writes is refused: epoch + 1.
    """
    sequence = _end_open_calls(task, now=now)
    ending = Outcome(completed=False, reason=StopReason.CANCELLED, detail=task.cancel_reason)
    task.report = report_from(ending, facts_of_rows(task))
    task.final_report_produced = False
    _end(task, Status.INCOMPLETE, StopReason.CANCELLED, sequence=sequence, now=now)


def end_failed(task: AgentTask, *, error: str, now: datetime.datetime) -> None:
    """End a task with a fault that a person has to look at; the caller holds the lock.

    Its report is an account of what had been done; None where that is no step.
    """
    sequence = _end_open_calls(task, now=now)
    task.error = error[:1000]
    task.report = failed_report(task.error, facts_of_rows(task))
    task.final_report_produced = False
    _end(task, Status.FAILED, StopReason.ERROR, sequence=sequence, now=now)


def _end(
    task: AgentTask,
    status: Status,
    reason: StopReason,
    *,
    sequence: int,
    now: datetime.datetime,
) -> None:
    check_transition(Status(task.status), status)
    task.status = status
    task.stop_reason = reason
    task.worker = None
    task.epoch += 1
    task.sequence = sequence + 1
    task.waiting_reason = ""
    task.completed_at = now
    task.save(
        update_fields=[
            "status",
            "stop_reason",
            "worker",
            "epoch",
            "sequence",
            "waiting_reason",
            "completed_at",
            "report",
            "final_report_produced",
            "error",
        ]
    )
    Event.objects.create(
        task=task,
        sequence=task.sequence,
        kind=status.value.lower(),
        data={"status": status.value, "stop_reason": reason.value},
        at=now,
    )
    enqueue_deliveries(task)
    publish_changes([task.pk])
    transaction.on_commit(lambda: _log(task))


def _log(task: AgentTask) -> None:
    assert task.completed_at is not None
    log_end(
        task=str(task.pk),
        status=task.status,
        reason=task.stop_reason,
        project_id=task.project_id,
        run=task.run_number,
        steps=task.steps_completed,
        tool_calls=task.tool_calls_made,
        tokens=task.input_tokens + task.output_tokens,
        cost_usd=None if task.cost_usd is None else float(task.cost_usd),
        seconds=(task.completed_at - (task.started_at or task.created_at)).total_seconds(),
    )


def _end_open_calls(task: AgentTask, *, now: datetime.datetime) -> int:
    """Give every call without a result one, so that a later run can go on; return the sequence."""
    sequence = task.sequence
    for call in _open_calls(task):
        call.state, call.result = _outcome(call)
        sequence += 1
        call.completed_sequence = sequence
        call.completed_at = now
        call.save()
    return sequence


def _outcome(call: ToolCall) -> tuple[CallState, str]:
    """Return the state and the result of a call that nobody waits for any more."""
    if call.state == CallState.PLANNED:
        return CallState.CANCELLED, NOT_SENT
    if call.repeatable:
        return CallState.CANCELLED, GIVEN_UP
    return CallState.UNKNOWN_OUTCOME, UNKNOWN


def _open_calls(task: AgentTask) -> Iterable[ToolCall]:
    return ToolCall.objects.filter(
        step__task=task, state__in=[CallState.PLANNED, CallState.STARTED]
    ).order_by("step__run_number", "step__index", "index")
