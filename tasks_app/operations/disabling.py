"""Disabling what tasks belong to, a tenant, a project or an end user, and enabling it again.

A pause is a field that the claim looks at, and a wait (see `worker.notices`). Disabling is an end:
requests are refused from its commit on, and the workers cancel what waits and what runs, whatever
becomes of whoever asked for it.
"""

from __future__ import annotations

import datetime
import uuid
from typing import TypeAlias

from django.db import transaction
from django.db.models import Q

from caylex_project.accounts.models import EndUser, Project, Tenant
from tasks_app.models import AgentTask
from tasks_app.operations.cancel import cancel
from tasks_app.states import Status

Scope: TypeAlias = Tenant | Project | EndUser

BATCH_SIZE = 50  # tasks that are cancelled in one transaction
# Requests that were under way when it was disabled are long over then.
LOOKED_AT = datetime.timedelta(days=1)


def disable(scope: Scope, *, now: datetime.datetime) -> bool:
    """Disable it; False when it was so."""
    enabled = type(scope).objects.filter(pk=scope.pk, disabled_at=None)
    return bool(enabled.update(disabled_at=now))


def enable(scope: Scope) -> bool:
    """Let it ask for tasks again; what was cancelled stays so. False when it was enabled."""
    disabled = type(scope).objects.filter(pk=scope.pk, disabled_at__isnull=False)
    return bool(disabled.update(disabled_at=None))


def cancel_disabled_batch(*, now: datetime.datetime) -> bool:
    """Cancel some of what lives and was disabled within a day; True when there may be more.

    Several may do so at once: who comes second to a task finds it cancelled.
    """
    ids = _live(now)
    if not ids:  # the rule: on SQLite a transaction is a write lock
        return False
    with transaction.atomic():
        for task_id, why in sorted(ids.items()):
            cancel(task_id=task_id, tenant_id=None, reason=why, now=now)
    return len(ids) == BATCH_SIZE


def _live(now: datetime.datetime) -> dict[uuid.UUID, str]:
    """Return live tasks of what was disabled lately, each with what that is."""
    lately = Q(disabled_at__gt=now - LOOKED_AT)
    found: dict[uuid.UUID, str] = {}
    for name, model in (("tenant", Tenant), ("project", Project), ("end_user", EndUser)):
        scopes = list(model._default_manager.filter(lately).values_list("pk", flat=True))
        if not scopes:
            continue
        tasks = AgentTask.objects.filter(
            **{f"{name}__in": scopes},
            status__in=(Status.PENDING, Status.RUNNING),
            cancel_requested_at=None,
        )
        why = f"The {name.replace('_', ' ')} was disabled."
        left = BATCH_SIZE - len(found)
        found |= dict.fromkeys(tasks.values_list("pk", flat=True)[:left], why)
    return found
