"""Which projects a staff user sees."""

from __future__ import annotations

import uuid
from typing import Any

from caylex_project.accounts.models import StaffScope


def visible_projects(user: Any) -> frozenset[uuid.UUID] | None:
    """Return the ids of the projects that the staff user is limited to; None means all.

    At most two queries.
    """
    scope = StaffScope.objects.filter(user_id=user.pk).first()
    return None if scope is None else frozenset(scope.projects.values_list("pk", flat=True))
