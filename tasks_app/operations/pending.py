"""How many tasks of a tenant, a project or an end user may wait."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from django.db.models import QuerySet

from caylex_project.accounts.models import Project
from tasks_app.models import AWAITS_CONNECTION, AgentTask
from tasks_app.states import Status

PENDING_LIMIT = "max_pending"  # a key of the limits of a tenant or project
USER_PENDING_LIMIT = "max_pending_per_user"  # of a project


class TooManyPending(Exception):
    """A tenant, project or end user has as many waiting tasks as it may; `str()` says which."""


def check_pending(*, project: Project, end_user_id: uuid.UUID) -> None:
    """Raise TooManyPending where one more task would wait than may.

    For each limit that is set an index is read, no further than the limit; nothing is asked where
    there is none. A task that waits for its user to connect something does not count. Nothing is
    locked, so that those in flight at once may overshoot.
    """
    for scope, cap, waiting in _limited(project, end_user_id):
        if waiting.values("pk")[:cap].count() >= cap:
            raise TooManyPending(
                f"The {scope} has {cap:,} waiting tasks, as many as it may have. Try again when "
                "some of them have been started."
            )


def _limited(
    project: Project, end_user_id: uuid.UUID
) -> Iterator[tuple[str, int, QuerySet[AgentTask]]]:
    """Yield the limited scopes: name, limit, and all tasks that wait in them."""
    waiting = AgentTask.objects.filter(status=Status.PENDING).exclude(AWAITS_CONNECTION)
    if (cap := project.tenant.limits.get(PENDING_LIMIT)) is not None:
        yield "tenant", cap, waiting.filter(tenant=project.tenant_id)
    if (cap := project.limits.get(PENDING_LIMIT)) is not None:
        yield "project", cap, waiting.filter(project=project)
    if (cap := project.limits.get(USER_PENDING_LIMIT)) is not None:
        yield "end user", cap, waiting.filter(project=project, end_user=end_user_id)
