"""How many tasks a tenant, project or end user may run at once, held hard."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence

from django.db.models import Count

from caylex_project.accounts.models import EndUser, Project, Tenant
from tasks_app.models import AgentTask
from tasks_app.states import Status
from tasks_app.worker.claiming.due import DueTask

_SCOPES: Mapping[str, type[Tenant] | type[Project] | type[EndUser]] = {
    "tenant": Tenant,
    "project": Project,
    "end_user": EndUser,
}


def apply_concurrency_limits(found: Sequence[DueTask]) -> list[DueTask]:
    """Return those of the tasks that their scopes have room for, in the order given.

    Within the claim's transaction, which must not take more than is returned here:
    1. Where no task found has a limit, there is nothing to do.
    2. Lock the rows of the limited scopes. One that another worker has locked has no room now: it
       is claiming there, and must not hold up the others where it stands still.
    3. Count what runs, under the lock: whoever claimed there before has committed.
    4. Let as many through as each scope has room for.
    """
    capacity: dict[tuple[str, uuid.UUID], int] = {}
    for scope in _SCOPES:
        caps = {_id(each, scope): cap for each in found if (cap := _limit(each, scope)) is not None}
        if caps:
            projects = {each.project_id for each in found}
            capacity |= {
                (scope, pk): left for pk, left in remaining_capacity(scope, caps, projects).items()
            }
    return [each for each in found if _reserve(each, capacity)]


def remaining_capacity(
    scope: str, caps: Mapping[uuid.UUID, int], projects: Iterable[uuid.UUID]
) -> dict[uuid.UUID, int]:
    rows = _SCOPES[scope].objects.select_for_update(no_key=True, skip_locked=True)
    locked = list(rows.filter(pk__in=caps).order_by("pk").values_list("pk", flat=True))
    running = AgentTask.objects.filter(status=Status.RUNNING, **{f"{scope}__in": locked})
    if scope == "end_user":
        running = running.filter(project__in=projects)  # there is an index on these
    many = dict(running.values_list(scope).annotate(Count("id")))
    return {pk: cap - many.get(pk, 0) if pk in locked else 0 for pk, cap in caps.items()}


def _reserve(due: DueTask, capacity: dict[tuple[str, uuid.UUID], int]) -> bool:
    """Tell whether all scopes of the task have room, and take it up where they do."""
    scopes = [(scope, _id(due, scope)) for scope in _SCOPES if _limit(due, scope) is not None]
    if any(capacity[scope] <= 0 for scope in scopes):
        return False
    for scope in scopes:
        capacity[scope] -= 1
    return True


def _id(due: DueTask, scope: str) -> uuid.UUID:
    found: uuid.UUID = getattr(due, f"{scope}_id")
    return found


def _limit(due: DueTask, scope: str) -> int | None:
    cap: int | None = getattr(due, f"{scope}_cap")
    return cap
