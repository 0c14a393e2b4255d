"""Which projects are active, and which are suspended: paused or disabled."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from caylex_project.accounts.models import Project

_GOES_ON = Q(paused=False, disabled_at=None, tenant__paused=False, tenant__disabled_at=None)


def projects_that_go_on() -> QuerySet[Project]:
    """Return the projects whose tasks are claimed."""
    return Project.objects.filter(_GOES_ON)


def projects_that_rest() -> QuerySet[Project]:
    """Return the others: those that are paused or disabled, or whose tenant is."""
    return Project.objects.exclude(_GOES_ON)
