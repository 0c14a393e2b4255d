"""What staff do with a task or a webhook's message, and its line in the audit trail.

The API's own operation and the entry are in one transaction: what cannot be written down is not
done.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from django.db import transaction

from caylex_project.accounts.audit import record
from caylex_project.accounts.staff_scope import visible_projects
from caylex_project.integrations.webhook_validation import WebhookRefused
from tasks_app.models import AgentTask, WebhookDelivery
from tasks_app.operations import cancel, runs
from tasks_app.operations.enabled import ScopeDisabled
from tasks_app.operations.locked import TaskNotFound, locked_task
from tasks_app.operations.pending import TooManyPending
from tasks_app.operations.submit import SkillNotFound
from tasks_app.operations.webhooks import DeliveryNotFound, RedeliverRefused, redeliver

Made = Mapping[str, str]
Perform = Callable[[uuid.UUID, str, datetime.datetime], Made]


MISSING = (TaskNotFound, DeliveryNotFound)


class ActionRejected(Exception):
    """It was left as it is; `str()` says why."""


def may_operate(user: Any) -> bool:
    """Tell whether the staff user may cancel, retry, rerun and resend."""
    return bool(user.is_active and user.is_staff and user.has_perm("tasks_app.change_agenttask"))


def perform(
    *,
    action: str,
    subject_id: uuid.UUID,
    actor: Any,
    reason: str,
    now: datetime.datetime,
    details: Made | None = None,
) -> Made:
    """Cancel, retry or rerun a task, or resend a message, of the projects that `actor` sees.

    Returns what came of it. Raises ActionRejected, and one of MISSING.
    """
    if action == "resend":
        return _resend(subject_id, actor, reason, details or {}, now)
    perform = _ACTIONS.get(action) or _prepared_rerun(subject_id)
    with transaction.atomic():
        task = locked_task(task_id=subject_id, tenant_id=None)
        _check_visible(actor, task)
        made = perform(subject_id, reason, now)
        _audit(actor, action, task, reason, {**(details or {}), **made}, now)
    return made


def _resend(
    delivery_id: uuid.UUID, actor: Any, reason: str, details: Made, now: datetime.datetime
) -> Made:
    """Send a webhook's message once more, under its own id."""
    with transaction.atomic():
        delivery = WebhookDelivery.objects.select_related("task").filter(pk=delivery_id).first()
        if delivery is None:
            raise DeliveryNotFound
        _check_visible(actor, delivery.task)
        try:
            redeliver(delivery_id=delivery_id, tenant_id=None, now=now)
        except RedeliverRefused as refused:
            raise ActionRejected(str(refused)) from None
        said = {**details, "delivery": str(delivery_id), "event": delivery.event}
        _audit(actor, "resend", delivery.task, reason, said, now)
    return {}


def _cancel(task_id: uuid.UUID, reason: str, now: datetime.datetime) -> Made:
    if not cancel.cancel(task_id=task_id, tenant_id=None, reason=reason, now=now):
        raise ActionRejected("What has ended cannot be cancelled.")
    return {}


def _retry(task_id: uuid.UUID, reason: str, now: datetime.datetime) -> Made:
    try:
        runs.retry(task_id=task_id, tenant_id=None, now=now)
    except (runs.RetryRefused, ScopeDisabled, TooManyPending) as refused:
        raise ActionRejected(str(refused)) from None
    return {}


def _prepared_rerun(task_id: uuid.UUID) -> Perform:
    """Look up what takes as long as it takes, before the transaction; return what does the rest."""
    try:
        warning = runs.check_rerun(task_id=task_id, tenant_id=None)
    except WebhookRefused as refused:
        raise ActionRejected(f"Its webhook is allowed no more: {refused}") from None

    def perform(task_id: uuid.UUID, reason: str, now: datetime.datetime) -> Made:
        try:
            new = runs.create_rerun(
                task_id=task_id, tenant_id=None, webhook_warning=warning, now=now
            )
        except (runs.RerunRefused, ScopeDisabled, TooManyPending) as refused:
            raise ActionRejected(str(refused)) from None
        except SkillNotFound:
            raise ActionRejected("Its skill is no more.") from None
        return {"new_task": str(new.task_id)}

    return perform


_ACTIONS: Mapping[str, Perform] = {"cancel": _cancel, "retry": _retry}  # and "rerun"


def _check_visible(actor: Any, task: AgentTask) -> None:
    visible = visible_projects(actor)
    if visible is not None and task.project_id not in visible:
        raise TaskNotFound


def _audit(
    actor: Any, action: str, task: AgentTask, reason: str, said: Made, now: datetime.datetime
) -> None:
    record(
        actor=actor,
        action=action,
        on=task,
        project_id=task.project_id,
        reason=reason,
        details=said,
        now=now,
    )
