"""One action on many tasks: asked for once, done by the workers, task by task."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from typing import Any

import structlog
from django.contrib.auth import get_user_model
from django.db import InterfaceError, OperationalError, transaction

from caylex_project.accounts.audit import record
from tasks_app.models import BulkOperation
from tasks_app.operations import staff
from tasks_app.operations.locked import TaskNotFound

PORTION = 20  # tasks of one call, each in a transaction of its own
GONE = "There is no such task any more."
NOT_ALLOWED = "Whoever asked for it may not do it any more."
BROKE = "It broke; the operator's log has it under the task's id."

log = structlog.get_logger(__name__)


def begin(
    *,
    action: str,
    task_ids: Sequence[uuid.UUID],
    actor: Any,
    reason: str,
    now: datetime.datetime,
) -> BulkOperation:
    """Write down what is to be done with many tasks; the workers do it."""
    with transaction.atomic():
        operation = BulkOperation.objects.create(
            actor=actor.get_username(),
            action=action,
            reason=reason,
            task_ids=[str(each) for each in task_ids],
        )
        record(
            actor=actor,
            action=f"{action} many",
            on=operation,
            reason=reason,
            details={"tasks": len(task_ids)},
            now=now,
        )
    return operation


def work_on(*, now: datetime.datetime) -> bool:
    """Do the next tasks of the oldest operation that is not through; True when there may be more.

    Several may work at once. For each task, in one transaction:
    1. Lock the operation; where another has it, leave it to that one.
    2. Do the task at its position, with its entry in the audit trail, as the one who asked for
       it may today; or count why it was not done.
    3. Move the position on; behind the last, complete the operation. Whoever is killed before
       the commit has done nothing, and whoever goes on begins with that task.
    """
    operation = BulkOperation.objects.filter(completed_at=None).order_by("created_at").first()
    if operation is None:
        return False
    actor = get_user_model()._default_manager.filter(username=operation.actor).first()
    may = actor is not None and staff.may_operate(actor)
    ids = operation.task_ids
    return all(_do_next(operation.pk, ids, actor if may else None, now) for _ in range(PORTION))


def _do_next(
    operation_id: uuid.UUID, ids: Sequence[str], actor: Any, now: datetime.datetime
) -> bool:
    with transaction.atomic():
        mine = BulkOperation.objects.select_for_update(skip_locked=True).defer("task_ids")
        operation = mine.filter(pk=operation_id, completed_at=None).first()
        if operation is None:
            return False
        if operation.position < len(ids):
            why = _do(operation, uuid.UUID(ids[operation.position]), actor, now)
            operation.position += 1
            if why is None:
                operation.done += 1
            else:
                operation.refused[why] = operation.refused.get(why, 0) + 1
        if operation.position >= len(ids):
            operation.completed_at = now
        operation.save(update_fields=["position", "done", "refused", "completed_at"])
    return True


def _do(
    operation: BulkOperation, task_id: uuid.UUID, actor: Any, now: datetime.datetime
) -> str | None:
    """Do one task; return why it was not done, or None."""
    if actor is None:
        return NOT_ALLOWED
    try:
        staff.act(
            action=operation.action,
            task_id=task_id,
            actor=actor,
            reason=operation.reason,
            details={"operation": str(operation.pk)},
            now=now,
        )
    except staff.NotDone as refused:
        return str(refused)
    except TaskNotFound:
        return GONE
    except (OperationalError, InterfaceError):  # the connection's fault: another time
        raise
    except Exception:  # a task that breaks must not keep the others from being done
        log.exception("bulk.broke", task=str(task_id), operation=str(operation.pk))
        return BROKE
    return None
