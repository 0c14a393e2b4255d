"""A request that is sent again is not carried out again.

The key is a row in the transaction of what the request does, under a unique constraint: that alone
decides who was first. After draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import IntegrityError, transaction

from caylex_project.accounts.models import Navigator
from tasks_app.models import IdempotencyKey

SECRET = "caylex_api_key"  # noqa: S105 - a field's name

Prepared = TypeVar("Prepared")


class IdempotencyKeyReused(Exception):
    """The key was sent before with another body; `str()` says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyToken:
    """A key of the caller's, where it was sent to, and the SHA-256 of what it stands for."""

    tenant_id: uuid.UUID
    path: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a request was answered: the task that it is about, and the rest as JSON."""

    task_id: uuid.UUID
    answer: dict[str, Any]


def fingerprint(body: Mapping[str, Any], *, navigator: Navigator | None = None) -> str:
    """Return the SHA-256 of the body's canonical JSON, hexadecimal.

    The navigator's id stands for its key, so that no digest holds the secret and a rotated key
    changes nothing. Null stands for absent, as everywhere in the API.
    """
    said = _without_nulls({**body, SECRET: str(navigator.pk)} if navigator else body)
    canonical = json.dumps(said, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _without_nulls(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: _without_nulls(each) for name, each in value.items() if each is not None}


def act_once(
    *,
    once: IdempotencyToken | None,
    prepare: Callable[[], Prepared],
    act: Callable[[Prepared], Said],
    now: datetime.datetime,
) -> tuple[dict[str, Any], bool]:
    """Carry a request out, or return its first answer again; True where it was carried out before.

    1. Where the key is known, its first answer is the answer, whatever has changed since.
    2. Else prepare, with no transaction open: a name may have to be looked up.
    3. One transaction holds what is done and the key.
    4. Of several at once the unique constraint lets one commit; the others wait for it, undo what
       they wrote and go back to 1.

    Without a key it is carried out. Raises IdempotencyKeyReused, and what `prepare` and `act`
    raise; what was refused is not remembered.
    """
    if once is None:
        prepared = prepare()
        with transaction.atomic():
            return act(prepared).answer, False
    first = _earlier_response(once)
    if first is not None:
        return first, True
    prepared = prepare()
    try:
        with transaction.atomic():
            return _act_and_remember(once, lambda: act(prepared), now), False
    except IntegrityError:
        first = _earlier_response(once)
        if first is None:
            raise
        return first, True


def _act_and_remember(
    once: IdempotencyToken, act: Callable[[], Said], now: datetime.datetime
) -> dict[str, Any]:
    row = IdempotencyKey.objects.create(
        tenant_id=once.tenant_id,
        path=once.path,
        key=once.key,
        fingerprint=once.fingerprint,
        answer={},
        created_at=now,
    )
    said = act()
    row.task_id, row.answer = said.task_id, said.answer
    row.save(update_fields=["task", "answer"])
    return said.answer


def _earlier_response(once: IdempotencyToken) -> dict[str, Any] | None:
    row = IdempotencyKey.objects.filter(
        tenant_id=once.tenant_id, path=once.path, key=once.key
    ).first()
    if row is None:
        return None
    if row.fingerprint != once.fingerprint:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was sent before with another body. Use a new key."
        )
    answer: dict[str, Any] = row.answer
    return answer
