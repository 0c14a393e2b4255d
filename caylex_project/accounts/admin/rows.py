"""The admin of tenants, projects, end users and the audit trail."""

from __future__ import annotations

from django.contrib import admin

from caylex_project.accounts.models import AuditEntry, EndUser, Project, Tenant
from caylex_project.accounts.readonly import ReadOnlyAdmin


@admin.register(Tenant)
class TenantAdmin(ReadOnlyAdmin):
    """Tenants."""

    project_paths = ("projects",)
    list_display = ("name", "created_at")
    search_fields = ("name",)
    fields = ("id", "name", "created_at")


@admin.register(Project)
class ProjectAdmin(ReadOnlyAdmin):
    """Projects."""

    project_paths = ("pk",)
    list_display = ("name", "tenant", "timezone", "created_at")
    list_select_related = ("tenant",)
    search_fields = ("name", "tenant__name")
    fields = ("id", "tenant", "name", "instructions", "timezone", "limits", "created_at")


@admin.register(EndUser)
class EndUserAdmin(ReadOnlyAdmin):
    """End users."""

    project_paths = ("project",)
    list_display = ("email", "project", "created_at")
    list_select_related = ("project__tenant",)
    search_fields = ("email",)
    fields = ("id", "project", "email", "created_at")


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
