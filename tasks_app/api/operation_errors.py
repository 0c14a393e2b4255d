"""What the operations refuse, as the API answers it: the same on every address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from caylex_project.integrations.webhook_validation import WebhookRefused
from tasks_app.api.errors import BadFields, FieldError, Problem
from tasks_app.api.views.base import task_not_found
from tasks_app.operations.delete import NotFinished
from tasks_app.operations.enabled import ScopeDisabled
from tasks_app.operations.idempotency import IdempotencyKeyReused
from tasks_app.operations.locked import TaskNotFound
from tasks_app.operations.metadata import TooManyPairs
from tasks_app.operations.pending import TooManyPending
from tasks_app.operations.runs import ContinueRefused, RerunRefused, RetryRefused
from tasks_app.operations.submit import SkillNotFound

PENDING_RETRY_AFTER = 5  # seconds; a place is free as soon as a worker takes a task

_STATUSES: dict[type[Exception], tuple[int, str]] = {  # of those whose `str()` is the sentence
    TooManyPairs: (409, "metadata_full"),
    NotFinished: (409, "not_finished"),
    RetryRefused: (409, "not_retryable"),
    ContinueRefused: (409, "not_continuable"),
    RerunRefused: (409, "not_rerunnable"),
    ScopeDisabled: (403, "disabled"),
    IdempotencyKeyReused: (422, "idempotency_key_reused"),
}


@contextmanager
def operation_errors_as_problems() -> Iterator[None]:
    """Raise the Problem that tells the caller what the operation within has refused."""
    try:
        yield
    except TaskNotFound:
        raise task_not_found() from None
    except SkillNotFound:
        raise Problem(
            status=404,
            code="skill_not_found",
            detail="The project has no skill of that name or slug.",
        ) from None
    except WebhookRefused as refused:
        raise BadFields(
            [FieldError(field="webhook.url", code="invalid_webhook_url", message=str(refused))]
        ) from None
    except TooManyPending as refused:
        raise Problem(
            status=429,
            code="too_many_pending",
            detail=str(refused),
            retry_after=PENDING_RETRY_AFTER,
        ) from None
    except tuple(_STATUSES) as refused:
        status, code = _STATUSES[type(refused)]
        raise Problem(status=status, code=code, detail=str(refused)) from None
