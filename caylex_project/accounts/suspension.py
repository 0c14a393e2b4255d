"""Which projects are active, and which are suspended: paused or disabled."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from caylex_project.accounts.models import Project

_ACTIVE = Q(paused=False, disabled_at=None, tenant__paused=False, tenant__disabled_at=None)


def active_projects() -> QuerySet[Project]:
    """Return the projects whose tasks are claimed."""
    return Project.objects.filter(_ACTIVE)


def suspended_projects() -> QuerySet[Project]:
    """Return the others: those that are paused or disabled, or whose tenant is."""
    return Project.objects.exclude(_ACTIVE)
