"""One action on many tasks or messages: asked for once, done by the workers, one by one."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from typing import Any

import structlog
from django.contrib.auth import get_user_model
from django.db import transaction

from caylex_project.accounts.audit import record
from caylex_project.db.outage import is_outage
from tasks_app.models import BulkOperation
from tasks_app.operations import staff

BATCH_SIZE = 20  # of one call, each in a transaction of its own
GONE = "It is there no more."
NOT_ALLOWED = "Whoever asked for it may not do it any more."
BROKE = "It broke; the operator's log has it under its id."

log = structlog.get_logger(__name__)


def begin(
    *,
    action: str,
    subject_ids: Sequence[uuid.UUID],
    actor: Any,
    reason: str,
    now: datetime.datetime,
) -> BulkOperation:
    """Write down what is to be done with many rows; the workers do it."""
    with transaction.atomic():
        operation = BulkOperation.objects.create(
            actor=actor.get_username(),
            action=action,
            reason=reason,
            subject_ids=[str(each) for each in subject_ids],
        )
        record(
            actor=actor,
            action=f"{action} many",
            on=operation,
            reason=reason,
            details={operation.noun: len(subject_ids)},
            now=now,
        )
    return operation


def process_bulk_batch(*, now: datetime.datetime) -> bool:
    """Do the next of the oldest operation that is not through; True when there may be more.

    Several may work at once. For each task or message, in one transaction:
    1. Lock the operation; where another has it, leave it to that one.
    2. Do the one at its position, with its entry in the audit trail, as the one who asked for
       it may when the portion begins; or count why it was not done.
    3. Move the position on; behind the last, complete the operation. Whoever is killed before
       the commit has done nothing, and whoever goes on begins with that one.
    """
    operation = BulkOperation.objects.filter(completed_at=None).order_by("created_at").first()
    if operation is None:
        return False
    actor = get_user_model()._default_manager.filter(username=operation.actor).first()
    may = actor is not None and staff.may_operate(actor)
    ids = operation.subject_ids
    return all(_do_next(operation.pk, ids, actor if may else None, now) for _ in range(BATCH_SIZE))


def _do_next(
    operation_id: uuid.UUID, ids: Sequence[str], actor: Any, now: datetime.datetime
) -> bool:
    with transaction.atomic():
        mine = BulkOperation.objects.select_for_update(skip_locked=True).defer("subject_ids")
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
    operation: BulkOperation, subject_id: uuid.UUID, actor: Any, now: datetime.datetime
) -> str | None:
    """Do it with one; return why it was not done, or None."""
    if actor is None:
        return NOT_ALLOWED
    try:
        staff.perform(
            action=operation.action,
            subject_id=subject_id,
            actor=actor,
            reason=operation.reason,
            details={"operation": str(operation.pk)},
            now=now,
        )
    except staff.ActionRejected as refused:
        return str(refused)
    except staff.MISSING:
        return GONE
    except Exception as error:  # one that breaks must not keep the others from being done
        if is_outage(error):  # the next look continues with this one
            raise
        log.exception("bulk.broke", subject=str(subject_id), operation=str(operation.pk))
        return BROKE
    return None
