"""The trail of what staff did. Rows are added in the transaction of what they tell of."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from typing import Any

from django.db.models import Model

from caylex_project.accounts.models import AuditEntry

_NAME = 300  # characters of a thing's name that are kept
_REASON = 500


def record(
    *,
    actor: Any,
    action: str,
    on: Model,
    now: datetime.datetime,
    project_id: uuid.UUID | None = None,
    reason: str = "",
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write down that the staff user `actor` did `action` to the row `on`, and why.

    The caller's transaction holds both, or neither. `details` never holds a secret.
    """
    AuditEntry.objects.create(
        at=now,
        actor=actor.get_username(),
        action=action,
        object_type=on._meta.label_lower,
        object_id=str(on.pk),
        object_name=str(on)[:_NAME],
        project_id=project_id,
        reason=reason[:_REASON],
        details=dict(details or {}),
    )
