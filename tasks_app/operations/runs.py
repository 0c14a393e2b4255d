"""The runs of a task after its first."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from django.db import transaction

from agent_runtime.endings import SENTENCES, StopReason
from tasks_app.changes import announce
from tasks_app.doorbell import knock
from tasks_app.models import AgentTask, Event
from tasks_app.operations.locked import locked_task
from tasks_app.states import Status, check_transition

_FRESH_RUN: dict[str, Any] = {  # what a run starts with, whatever the last one left
    "status": Status.PENDING,
    "attempt": 0,
    "crashes": 0,
    "waiting_reason": "",
    "cancel_requested_at": None,
    "cancel_reason": "",
    "stop_reason": "",
    "report": None,
    "final_report_produced": None,
    "error": None,
    "started_at": None,
    "completed_at": None,
}


class RetryRefused(Exception):
    """The task's state does not allow a retry; `str()` says why."""


def retry(*, task_id: uuid.UUID, tenant_id: uuid.UUID | None, now: datetime.datetime) -> None:
    """Start the next run of a FAILED or INCOMPLETE task, from its last completed step.

    What the last run ended with is cleared, the model is told why it ended, attempts and limits
    count afresh. Raises TaskNotFound, and RetryRefused where the task is in another state.
    """
    with transaction.atomic():
        task = locked_task(task_id=task_id, tenant_id=tenant_id)
        if task.status not in (Status.FAILED, Status.INCOMPLETE):
            raise RetryRefused(
                f"Only a FAILED or INCOMPLETE task can be retried, not {task.status}."
            )
        check_transition(Status(task.status), Status.PENDING)
        note = _retry_note(task)
        AgentTask.objects.filter(pk=task.pk).update(
            **_FRESH_RUN,
            run_number=task.run_number + 1,
            sequence=task.sequence + 1,
            next_attempt_at=now,
            opening_notes=[note],
        )
        Event.objects.create(
            task=task,
            sequence=task.sequence + 1,
            kind="retried",
            data={"status": Status.PENDING.value, "run_number": task.run_number + 1},
            at=now,
        )
        knock(task_id=task.id)
        announce([task.pk])


def _retry_note(task: AgentTask) -> str:
    why = SENTENCES[StopReason(task.stop_reason)]
    detail = f" ({task.error})" if task.error else ""
    return (
        f"The last run of this task ended because {why}{detail}. It is being continued: go on from "
        "where it stopped, do not repeat what was done, and end with a full report."
    )
