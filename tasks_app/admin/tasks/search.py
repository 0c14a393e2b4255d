"""Finding tasks by what staff have in hand: an id or its beginning, an e-mail, a metadata pair."""

from __future__ import annotations

import re
import uuid
from typing import Any

from django.db.models import QuerySet

from caylex_project.accounts.models import EndUser, Tenant
from tasks_app.models import TaskMetadata

HELP = "An id or its first characters, an e-mail address, or a metadata pair as key:value."
_HEX = re.compile(r"[0-9a-f]{1,32}")
MAX_USERS = 1000  # with one address, each in a project of its own


def search(tasks: QuerySet[Any], text: str) -> QuerySet[Any]:
    """Return the tasks that the text names, by indexes alone; none where it names nothing."""
    text = text.strip()
    if not text:
        return tasks
    if "@" in text and ":" not in text:
        users = EndUser.objects.filter(email=text.lower())
        return tasks.filter(end_user__in=list(users.values_list("pk", flat=True)[:MAX_USERS]))
    digits = text.lower().replace("-", "")
    if _HEX.fullmatch(digits):
        return tasks.filter(pk__range=id_range(digits))
    key, colon, value = text.partition(":")
    if not colon:
        return tasks.none()
    pairs = TaskMetadata.objects.filter(
        tenant__in=Tenant.objects.values("pk"), key=key.strip(), value=value.strip()
    )
    return tasks.filter(pk__in=pairs.values("task"))


def id_range(digits: str) -> tuple[uuid.UUID, uuid.UUID]:
    """Return the first and the last id that begin with these hexadecimal digits."""
    return uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))
