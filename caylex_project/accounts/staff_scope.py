"""Which projects a staff user sees."""

from __future__ import annotations

import uuid
from typing import Any

from caylex_project.accounts.models import StaffScope

_KEPT = "_visible_projects"  # on the user object


def visible_projects(user: Any) -> frozenset[uuid.UUID] | None:
    """Return the ids of the projects that the staff user is limited to; None means all.

    The database is asked once for each user object: a request has one, and asks many times.
    """
    if not hasattr(user, _KEPT):
        scope = StaffScope.objects.filter(user_id=user.pk).first()
        found = None if scope is None else frozenset(scope.projects.values_list("pk", flat=True))
        setattr(user, _KEPT, found)
    kept: frozenset[uuid.UUID] | None = getattr(user, _KEPT)
    return kept
