"""The runs of a task after its first."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from typing import Any

from django.db import transaction

from agent_runtime.outcome import DESCRIPTIONS, StopReason
from caylex_project.accounts.limits import RunLimits
from tasks_app.models import AgentTask, Event
from tasks_app.notifications.changes import publish_changes
from tasks_app.notifications.wakeup import send_wakeup
from tasks_app.operations.enabled import check_enabled
from tasks_app.operations.limits import (
    NONE_ASKED,
    limits_as_json,
    next_limits,
    resolve_limits,
)
from tasks_app.operations.locked import get_task, locked_task
from tasks_app.operations.pending import check_pending
from tasks_app.operations.submit import Submission, Submitted, create_task
from tasks_app.operations.webhooks import TaskWebhook, check_webhook
from tasks_app.states import OnAuthentication, Status, check_transition

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
    "authentication_needed": [],
    "connection_wait_until": None,
    "started_at": None,
    "completed_at": None,
}


class RetryRefused(Exception):
    """The task's state does not allow a retry; `str()` says why."""


class ContinueRefused(Exception):
    """The task has not ended, so that it cannot be continued; `str()` says so."""


class RerunRefused(Exception):
    """The task has not ended, so that it cannot be run anew; `str()` says so."""


def retry(
    *,
    task_id: uuid.UUID,
    tenant_id: uuid.UUID | None,
    now: datetime.datetime,
    limits: RunLimits = NONE_ASKED,
) -> None:
    """Start the next run of a FAILED or INCOMPLETE task, from its last completed step.

    What the last run ended with is cleared, the model is told why it ended, attempts and limits
    count afresh. Raises TaskNotFound, RetryRefused where the task is in another state,
    ScopeDisabled, and TooManyPending.
    """
    with transaction.atomic():
        task = locked_task(task_id=task_id, tenant_id=tenant_id)
        if task.status not in (Status.FAILED, Status.INCOMPLETE):
            raise RetryRefused(
                f"Only a FAILED or INCOMPLETE task can be retried, not {task.status}."
            )
        note = (
            f"{_why_it_ended(task)} It is being continued: go on from where it stopped, do not "
            "repeat what was done, and end with a full report."
        )
        _begin_run(task, kind="retried", notes=[note], limits=limits, now=now)


def continue_task(
    *,
    task_id: uuid.UUID,
    tenant_id: uuid.UUID | None,
    message: str,
    now: datetime.datetime,
    limits: RunLimits = NONE_ASKED,
) -> None:
    """Start the next run of a task that has ended, with a further instruction from its user.

    As with a retry, but for the message, which the model gets after it was told why the last run
    ended. Raises TaskNotFound, ContinueRefused where the task has not ended, ScopeDisabled, and
    TooManyPending.
    """
    with transaction.atomic():
        task = locked_task(task_id=task_id, tenant_id=tenant_id)
        if not Status(task.status).terminal:
            raise ContinueRefused(
                f"Only a task that has ended can be continued, not {task.status}."
            )
        note = (
            f"{_why_it_ended(task)} Now there is a further instruction, which follows. Build on "
            "what was done, do not repeat it, and end with a full report."
        )
        notes, words = [note, message], [message]
        _begin_run(task, kind="continued", notes=notes, words=words, limits=limits, now=now)


def check_rerun(*, task_id: uuid.UUID, tenant_id: uuid.UUID | None) -> str | None:
    """Look the task's webhook up, with no transaction open. Raises TaskNotFound, WebhookRefused."""
    return check_webhook(_webhook_of(get_task(task_id=task_id, tenant_id=tenant_id)))


def create_rerun(
    *,
    task_id: uuid.UUID,
    tenant_id: uuid.UUID | None,
    webhook_warning: str | None,
    now: datetime.datetime,
) -> Submitted:
    """Make a new task of all that was asked for with one that has ended.

    It is submitted again: its skill is looked up, its model and limits are checked as they stand
    today, and its webhook as `check_rerun` did. Raises TaskNotFound, RerunRefused where the task
    has not ended, and what `create_task` raises.
    """
    with transaction.atomic():
        task = locked_task(task_id=task_id, tenant_id=tenant_id)
        if not Status(task.status).terminal:
            raise RerunRefused(f"Only a task that has ended can be run anew, not {task.status}.")
        return create_task(
            navigator=task.navigator,
            submission=_submission_of(task),
            webhook_warning=webhook_warning,
            now=now,
        )


def _webhook_of(task: AgentTask) -> TaskWebhook | None:
    return TaskWebhook.of(task.webhook) if task.webhook else None


def _submission_of(task: AgentTask) -> Submission:
    skill = task.required_skill
    return Submission(
        user_email=task.end_user.email,
        prompt=task.prompt,
        skill_ref=skill["slug"] if skill else None,
        model=task.model,
        metadata=task.metadata,
        priority=task.priority,
        on_authentication=OnAuthentication(task.on_authentication),
        webhook=_webhook_of(task),
        limits=next_limits(last=task.limits, asked=NONE_ASKED),
        rerun_of=task.id,
    )


def _begin_run(
    task: AgentTask,
    *,
    kind: str,
    notes: list[str],
    words: Sequence[str] = (),
    limits: RunLimits,
    now: datetime.datetime,
) -> None:
    """Queue the next run.

    `notes` are what its first step says to the model; those in `words` are the caller's own.
    """
    check_transition(Status(task.status), Status.PENDING)
    check_enabled(project=task.project, end_user=task.end_user)
    check_pending(project=task.project, end_user_id=task.end_user_id)
    run_number = task.run_number + 1
    asked = next_limits(last=task.limits, asked=limits)
    untold = [note for note in _undelivered_notes(task) if note not in notes]
    own = {*words, *(task.opening_notes[index] for index in task.caller_notes or ())}
    opening = [*untold, *notes]
    AgentTask.objects.filter(pk=task.pk).update(
        **_FRESH_RUN,
        run_number=run_number,
        sequence=task.sequence + 1,
        next_attempt_at=now,
        opening_notes=opening,
        caller_notes=[index for index, note in enumerate(opening) if note in own],
        limits=limits_as_json(resolve_limits(project=task.project.limits, asked=asked)),
    )
    Event.objects.create(
        task=task,
        sequence=task.sequence + 1,
        kind=kind,
        data={"status": Status.PENDING.value, "run_number": run_number},
        at=now,
    )
    send_wakeup(task_id=task.id)
    publish_changes([task.pk])


def _undelivered_notes(task: AgentTask) -> list[str]:
    """Return what the last run was to say to the model, where it ended before its first step."""
    told = task.steps.filter(run_number=task.run_number).exists()
    return [] if told else list(task.opening_notes)


def _why_it_ended(task: AgentTask) -> str:
    why = DESCRIPTIONS[StopReason(task.stop_reason)]
    detail = f" ({task.error})" if task.error else ""
    return f"The last run of this task ended because {why}{detail}."
