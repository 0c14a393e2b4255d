"""Disabling tenants, projects and end users: more that staff can do with these rows, since it
concerns their tasks.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin

from caylex_project.accounts.admin.disabling import Toggle, disable_and_enable
from caylex_project.accounts.admin.row_actions import RowAction
from caylex_project.accounts.admin.tenants import EndUserAdmin, ProjectAdmin, TenantAdmin
from caylex_project.accounts.models import EndUser, Project, Tenant
from caylex_project.db.clock import clock
from tasks_app.operations.disabling import disable, enable


def _actions(**more: Any) -> tuple[RowAction, RowAction]:
    return disable_and_enable(
        disable=Toggle(
            question="New tasks for it are refused from now on. Its waiting tasks are cancelled, "
            "and its running ones are stopped.",
            perform=lambda row, reason: disable(row, now=clock.now()),
            said="{row} is disabled. The workers cancel its tasks.",
        ),
        enable=Toggle(
            question="It may ask for tasks again. What was cancelled stays so.",
            perform=lambda row, reason: enable(row),
            said="{row} may ask for tasks again.",
        ),
        **more,
    )


class TenantWithTasksAdmin(TenantAdmin):
    """Tenants, which can be disabled."""

    row_actions = (*TenantAdmin.row_actions, *_actions(for_all=True))


class ProjectWithTasksAdmin(ProjectAdmin):
    """Projects, which can be disabled."""

    row_actions = (*ProjectAdmin.row_actions, *_actions())


class EndUserWithTasksAdmin(EndUserAdmin):
    """End users, who can be disabled."""

    row_actions = (*EndUserAdmin.row_actions, *_actions())


for model, pages in (
    (Tenant, TenantWithTasksAdmin),
    (Project, ProjectWithTasksAdmin),
    (EndUser, EndUserWithTasksAdmin),
):
    admin.site.unregister(model)
    admin.site.register(model, pages)
