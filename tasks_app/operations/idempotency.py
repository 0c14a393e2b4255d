"""A submission that is sent again makes no second task.

The key is a row in the task's own transaction, under a unique constraint: that alone decides who
was first. After draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.db import IntegrityError, transaction

from caylex_project.accounts.models import Navigator
from tasks_app.models import IdempotencyKey
from tasks_app.operations.submit import Submission, Submitted, submit_checked
from tasks_app.operations.webhooks import check_webhook

PATH = "/agent-task"
SECRET = "caylex_api_key"  # noqa: S105 - a field's name


class IdempotencyKeyReused(Exception):
    """The key was sent before with another body; `str()` says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """A key of the caller's, and the SHA-256 of what it stands for."""

    key: str
    fingerprint: str


def fingerprint(body: Mapping[str, Any], *, navigator: Navigator) -> str:
    """Return the SHA-256 of the body's canonical JSON, hexadecimal.

    The navigator's id stands for its key, so that no digest holds the secret and a rotated key
    changes nothing. Null stands for absent, as everywhere in the API.
    """
    said = _without_nulls({**body, SECRET: str(navigator.pk)})
    canonical = json.dumps(said, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _without_nulls(each) for name, each in value.items() if each is not None}


def submit_once(
    *, navigator: Navigator, submission: Submission, once: Once, now: datetime.datetime
) -> tuple[Submitted, bool]:
    """Submit, or return what was said to the same key before; True where it was said before.

    1. Where the key is known, its first answer is the answer, whatever has changed since.
    2. Else the webhook's address is looked up, with no transaction open.
    3. One transaction holds the task, its doorbell and the key.
    4. Of several at once the unique constraint lets one commit; the others wait for it, undo what
       they wrote and go back to 1.

    Raises IdempotencyKeyReused, and what `submit` raises; what was refused is not remembered.
    """
    tenant_id = navigator.project.tenant_id
    first = _said_before(tenant_id, once)
    if first is not None:
        return first, True
    warning = check_webhook(submission.webhook)
    try:
        return _submit_and_remember(navigator, submission, once, warning, now), False
    except IntegrityError:
        first = _said_before(tenant_id, once)
        if first is None:
            raise
        return first, True


def _submit_and_remember(
    navigator: Navigator,
    submission: Submission,
    once: Once,
    warning: str | None,
    now: datetime.datetime,
) -> Submitted:
    with transaction.atomic():
        row = IdempotencyKey.objects.create(
            tenant_id=navigator.project.tenant_id,
            path=PATH,
            key=once.key,
            fingerprint=once.fingerprint,
            answer={},
            created_at=now,
        )
        task = submit_checked(
            navigator=navigator, submission=submission, webhook_warning=warning, now=now
        )
        row.task_id = task.task_id
        row.answer = {**asdict(task), "task_id": str(task.task_id)}
        row.save(update_fields=["task", "answer"])
    return task


def _said_before(tenant_id: uuid.UUID, once: Once) -> Submitted | None:
    row = IdempotencyKey.objects.filter(tenant_id=tenant_id, path=PATH, key=once.key).first()
    if row is None:
        return None
    if row.fingerprint != once.fingerprint:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was sent before with another body. Use a new key."
        )
    return Submitted(**{**row.answer, "task_id": uuid.UUID(row.answer["task_id"])})
