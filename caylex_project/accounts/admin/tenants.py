"""The admin of tenants, projects, end users and the audit trail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin

from caylex_project.accounts.admin.base import ReadOnlyAdmin
from caylex_project.accounts.admin.limits import (
    ProjectLimitsForm,
    TenantLimitsForm,
    limits_action,
)
from caylex_project.accounts.admin.pausing import pause_and_resume
from caylex_project.accounts.admin.row_actions import RowAction, RowActionsAdmin
from caylex_project.accounts.models import AuditEntry, EndUser, Project, Tenant


def _pausing(of: str, **more: Any) -> tuple[RowAction, RowAction]:
    return pause_and_resume(
        paused=f"Its tasks wait: {of} starts nothing any more, what runs now waits after the step "
        "that it is in, and new tasks are taken in.",
        resumed="Its tasks are started again.",
        **more,
    )


@admin.register(Tenant)
class TenantAdmin(RowActionsAdmin):
    """Tenants."""

    project_paths = ("projects",)
    list_display = ("name", "paused", "created_at")
    search_fields = ("name",)
    fields = ("id", "name", "limits", "paused", "disabled_at", "created_at")
    readonly_fields = ("disabled_at",)
    row_actions: ClassVar[Sequence[RowAction]] = (
        limits_action(TenantLimitsForm, for_all=True),
        *_pausing("the tenant", for_all=True),
    )


@admin.register(Project)
class ProjectAdmin(RowActionsAdmin):
    """Projects."""

    project_paths = ("pk",)
    list_display = ("name", "tenant", "timezone", "paused", "created_at")
    list_select_related = ("tenant",)
    search_fields = ("name", "tenant__name")
    fields = (
        *("id", "tenant", "name", "instructions", "timezone", "limits"),
        *("paused", "disabled_at", "created_at"),
    )
    readonly_fields = ("disabled_at",)
    row_actions: ClassVar[Sequence[RowAction]] = (
        limits_action(ProjectLimitsForm),
        *_pausing("the project"),
    )

    def audit_target(self, row: Project) -> tuple[Any, Any]:
        """The project, which is its own."""
        return row, row.pk


@admin.register(EndUser)
class EndUserAdmin(RowActionsAdmin):
    """End users."""

    project_paths = ("project",)
    list_display = ("email", "project", "disabled_at", "created_at")
    list_select_related = ("project__tenant",)
    search_fields = ("email",)
    fields = ("id", "project", "email", "disabled_at", "created_at")
    readonly_fields = ("disabled_at",)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """What staff did, and why."""

    project_paths = ("project_id",)
    list_display = ("at", "actor", "action", "object_name", "object_type", "reason")
    list_filter = ("action", "object_type")
    search_fields = ("=actor", "=object_id")
    ordering = ("-at", "-id")
    fields = (
        *("at", "actor", "action", "object_type", "object_id", "object_name", "project_id"),
        *("reason", "details"),
    )
