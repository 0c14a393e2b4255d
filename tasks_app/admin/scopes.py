"""Disabling tenants, projects and end users: more that staff can do with these rows, since it
concerns their tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.contrib import admin
from django.utils import timezone

from caylex_project.accounts.admin.rows import EndUserAdmin, ProjectAdmin, TenantAdmin
from caylex_project.accounts.models import EndUser, Project, Tenant
from caylex_project.accounts.row_actions import NotDone, Outcome, RowAction
from tasks_app.operations.scopes import Scope, disable, enable


def _disable(row: Scope, answers: Mapping[str, Any]) -> Outcome:
    if not disable(row, now=timezone.now()):
        raise NotDone("Somebody was faster: it is so already.")
    return Outcome(sentence=f"{row} is disabled. The workers cancel its tasks.")


def _enable(row: Scope, answers: Mapping[str, Any]) -> Outcome:
    if not enable(row):
        raise NotDone("Somebody was faster: it is so already.")
    return Outcome(sentence=f"{row} may ask for tasks again.")


DISABLE = RowAction(
    name="disable",
    verb="Disable",
    question="New tasks for it are refused from now on. Its waiting tasks are cancelled, and its "
    "running ones are stopped.",
    applies=lambda row: row.disabled_at is None,
    perform=_disable,
    alarming=True,
)
ENABLE = RowAction(
    name="enable",
    verb="Enable",
    question="It may ask for tasks again. What was cancelled stays so.",
    applies=lambda row: row.disabled_at is not None,
    perform=_enable,
)


class TenantWithTasksAdmin(TenantAdmin):
    """Tenants, which can be disabled."""

    row_actions = (
        *TenantAdmin.row_actions,
        replace(DISABLE, for_all=True),
        replace(ENABLE, for_all=True),
    )


class ProjectWithTasksAdmin(ProjectAdmin):
    """Projects, which can be disabled."""

    row_actions = (*ProjectAdmin.row_actions, DISABLE, ENABLE)


class EndUserWithTasksAdmin(EndUserAdmin):
    """End users, who can be disabled."""

    row_actions = (*EndUserAdmin.row_actions, DISABLE, ENABLE)


for model, pages in (
    (Tenant, TenantWithTasksAdmin),
    (Project, ProjectWithTasksAdmin),
    (EndUser, EndUserWithTasksAdmin),
):
    admin.site.unregister(model)
    admin.site.register(model, pages)
