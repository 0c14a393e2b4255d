"""The admin of servers: whether they answer, which tools they have, and pausing them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin

from caylex_project.accounts.admin.pausing import pause_and_resume
from caylex_project.accounts.admin.row_actions import (
    ActionResult,
    RowAction,
    RowActionsAdmin,
    RowForm,
)
from caylex_project.accounts.end_users import EmailRefused, normalise_email
from caylex_project.accounts.models import EndUser
from caylex_project.db.clock import clock
from caylex_project.integrations.models import AuthLevel, Server, ServerInstance
from caylex_project.integrations.tool_discovery import Listed, keep_tools, list_tools


class AsUserForm(RowForm):
    """As which user the server is asked, where each has a credential."""

    email = forms.CharField(label="As the user", help_text="Whose credential goes along.")

    def __init__(self, data: Any = None, *, row: ServerInstance) -> None:
        super().__init__(data, row=row)
        if row.auth_level != AuthLevel.USER:
            del self.fields["email"]
            return
        newest = row.credentials.select_related("end_user").order_by("-updated_at").first()
        if newest is not None and newest.end_user is not None:
            self.fields["email"].initial = newest.end_user.email

    def clean_email(self) -> EndUser:
        """Return the project's user of that address."""
        try:
            email = normalise_email(self.cleaned_data["email"])
        except EmailRefused as refused:
            raise forms.ValidationError(str(refused)) from None
        user = EndUser.objects.filter(project=self.row.project, email=email).first()
        if user is None:
            raise forms.ValidationError("The project has no such user.")
        return user


def _ask(row: ServerInstance, answers: Mapping[str, Any]) -> Listed:
    return list_tools(instance=row, end_user=answers.get("email"))


def _tested(row: ServerInstance, answers: Mapping[str, Any]) -> ActionResult:
    found: Listed = answers["found"]
    if found.problem:
        return _in_the_way(found, answers)
    count = len(found.tools)
    return ActionResult(
        sentence=f"{row.server} answered in {found.seconds} s and has {count} tools.",
        details={"tools": count, **_as_whom(answers)},
    )


def _refreshed(row: ServerInstance, answers: Mapping[str, Any]) -> ActionResult:
    found: Listed = answers["found"]
    if found.problem:
        return _in_the_way(found, answers)
    before = {each["name"] for each in row.tools}
    after = {each["name"] for each in found.tools}
    keep_tools(instance=row, listed=found, now=clock.now())
    return ActionResult(
        sentence=f"{row.server} has {len(after)} tools: {len(after - before)} new, "
        f"{len(before - after)} gone.",
        details={"tools": len(after), **_as_whom(answers)},
    )


def _in_the_way(found: Listed, answers: Mapping[str, Any]) -> ActionResult:
    details = {"problem": found.problem, **_as_whom(answers)}
    return ActionResult(sentence=f"No connection: {found.problem}", details=details, warning=True)


def _as_whom(answers: Mapping[str, Any]) -> dict[str, str]:
    user: EndUser | None = answers.get("email")
    return {} if user is None else {"user": user.email}


TEST = RowAction(
    name="test",
    verb="Test connection",
    question="The server is asked for its tools, as a task would ask. Nothing is called or kept.",
    form=AsUserForm,
    prepare=_ask,
    perform=_tested,
)
REFRESH = RowAction(
    name="refresh",
    verb="Refresh tools",
    question="The server is asked for its tools. What it lists is kept, and tasks that are taken "
    "up from now on ask it anew.",
    form=AsUserForm,
    prepare=_ask,
    perform=_refreshed,
)


def _pause_and_resume(where: str, **more: Any) -> tuple[RowAction, RowAction]:
    return pause_and_resume(
        paused=f"Tasks {where} that are taken up from now on see none of its tools. What runs now "
        "is told so by its next call of one, which is not sent.",
        resumed=f"Tasks {where} that are taken up from now on see its tools again.",
        **more,
    )


@admin.register(Server)
class ServerAdmin(RowActionsAdmin):
    """Servers of tenants; what is done here is done for every project."""

    project_paths = ("instances__project",)
    list_display = ("name", "tenant", "url", "auth_kind", "paused", "created_at")
    list_select_related = ("tenant",)
    search_fields = ("name", "tenant__name")
    fields = (
        *("id", "tenant", "name", "url", "auth_kind", "auth_name", "auth_prefix"),
        *("repeatable_tools", "paused", "created_at"),
    )
    row_actions = _pause_and_resume("of all projects", for_all=True)


@admin.register(ServerInstance)
class ServerInstanceAdmin(RowActionsAdmin):
    """Servers as they are connected to projects."""

    project_paths = ("project",)
    list_display = ("server", "project", "auth_level", "paused", "tools_listed_at", "created_at")
    list_select_related = ("server", "project__tenant")
    search_fields = ("server__name", "project__name")
    fields = ("id", "server", "project", "auth_level", "paused", "tools_listed_at", "created_at")
    row_actions = (TEST, REFRESH, *_pause_and_resume("of the project"))
    change_form_template = "admin/integrations/server_instance.html"
