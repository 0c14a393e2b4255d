"""Disabling what tasks belong to, a tenant, a project or an end user, and enabling it again.

A pause is a field that the claim looks at, and a wait (see `worker.notices`). Disabling is an end:
requests are refused from its commit on, and what waits or runs is cancelled.
"""

from __future__ import annotations

import datetime
from typing import Any, TypeAlias

from django.db import transaction
from django.db.models import Q

from caylex_project.accounts.models import EndUser, Project, Tenant
from tasks_app.models import AgentTask
from tasks_app.operations import bulk
from tasks_app.states import Status

Scope: TypeAlias = Tenant | Project | EndUser


def disable(scope: Scope, *, actor: Any, reason: str, now: datetime.datetime) -> int:
    """Disable it, and have the workers cancel what is live of it; return how many tasks those are.

    Both are one transaction: whoever is killed has done nothing or left all to the workers. Once
    more stops what came in between.
    """
    with transaction.atomic():
        type(scope).objects.filter(pk=scope.pk, disabled_at=None).update(disabled_at=now)
        live = AgentTask.objects.filter(
            _tasks_of(scope), status__in=(Status.PENDING, Status.RUNNING), cancel_requested_at=None
        )
        ids = list(live.order_by("created_at").values_list("pk", flat=True))
        if ids:
            bulk.begin(action="cancel", task_ids=ids, actor=actor, reason=reason, now=now)
    return len(ids)


def enable(scope: Scope) -> bool:
    """Let it ask for tasks again; what was cancelled stays so. False when it was enabled."""
    disabled = type(scope).objects.filter(pk=scope.pk, disabled_at__isnull=False)
    return bool(disabled.update(disabled_at=None))


def _tasks_of(scope: Scope) -> Q:
    if isinstance(scope, Tenant):
        return Q(tenant=scope)
    return Q(project=scope) if isinstance(scope, Project) else Q(end_user=scope)
