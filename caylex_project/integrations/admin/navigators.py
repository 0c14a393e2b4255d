"""The admin of navigators: what each may do with every tool of every server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin
from django.forms import BoundField

from agent_runtime.messages import Permission
from caylex_project.accounts.admin.base import ReadOnlyAdmin
from caylex_project.accounts.admin.row_actions import (
    ActionResult,
    RowAction,
    RowActionsAdmin,
    RowForm,
)
from caylex_project.accounts.models import Navigator
from caylex_project.integrations.models import ServerInstance, ToolPermission
from caylex_project.integrations.permissions import set_permissions

MAX_CHANGES = 100  # that the trail names one by one
_WORDS = {
    Permission.ALWAYS_EXECUTE: "Always execute",
    Permission.REQUIRE_APPROVAL: "Require approval",
    Permission.DISABLED: "Disabled",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tool:
    """A tool of a server that is connected to the project; `listed` says whether it has it now."""

    instance: ServerInstance
    name: str
    description: str
    listed: bool
    permission: Permission

    @property
    def field(self) -> str:
        """The name of its field: it does not move when the server lists more tools."""
        digest = hashlib.sha256(self.name.encode()).hexdigest()[:16]
        return f"{self.instance.pk.hex}-{digest}"


class PermissionsForm(RowForm):
    """A choice for each tool. `seen` stands for the permissions that the page was made of."""

    seen = forms.CharField(widget=forms.HiddenInput)

    def __init__(self, data: Any = None, *, row: Navigator) -> None:
        super().__init__(data, row=row)
        self.tools = _tools_of(row)
        self.state = _digest(self.tools)
        self.fields["seen"].initial = self.state
        for each in self.tools:
            self.fields[each.field] = forms.ChoiceField(
                label=each.name,
                choices=[(value.value, words) for value, words in _WORDS.items()],
                initial=each.permission.value,
                required=False,
            )

    def clean_seen(self) -> str:
        """Refuse answers to a page that tells of other permissions than there are."""
        if self.cleaned_data["seen"] != self.state:
            raise forms.ValidationError("Somebody changed them meanwhile: open this page again.")
        return self.state

    def servers(self) -> list[tuple[ServerInstance, list[tuple[_Tool, BoundField]]]]:
        """Return the fields as the page shows them: by server, in the order of their names."""
        found: dict[ServerInstance, list[tuple[_Tool, BoundField]]] = {}
        for instance in _instances(self.row):
            found[instance] = []
        for each in self.tools:
            found[each.instance].append((each, self[each.field]))
        return list(found.items())


def _instances(navigator: Navigator) -> list[ServerInstance]:
    rows = ServerInstance.objects.filter(project=navigator.project_id)
    return list(rows.select_related("server", "project").order_by("server__name"))


def _tools_of(navigator: Navigator) -> list[_Tool]:
    """Return what the servers listed, and what a permission names, by server and name."""
    kept: dict[Any, dict[str, Permission]] = {}
    for row in ToolPermission.objects.filter(navigator=navigator):
        kept.setdefault(row.instance_id, {})[row.tool] = Permission(row.permission)
    found = []
    for instance in _instances(navigator):
        listed = {each["name"]: each["description"] for each in instance.tools}
        permissions = kept.get(instance.pk, {})
        found += [
            _Tool(
                instance=instance,
                name=name,
                description=listed.get(name, ""),
                listed=name in listed,
                permission=permissions.get(name, Permission.ALWAYS_EXECUTE),
            )
            for name in sorted({*listed, *permissions})
        ]
    return found


def _digest(tools: list[_Tool]) -> str:
    facts = [[each.field, each.permission.value] for each in tools]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _permit(navigator: Navigator, answers: Mapping[str, Any]) -> ActionResult:
    wanted: dict[ServerInstance, dict[str, Permission]] = {}
    for each in _tools_of(navigator):
        if chosen := answers.get(each.field):
            wanted.setdefault(each.instance, {})[each.name] = Permission(chosen)
    changed = {
        f"{instance.server.name}: {tool}": [before.value, after.value]
        for instance, tools in wanted.items()
        for tool, (before, after) in set_permissions(
            navigator=navigator, instance=instance, wanted=tools
        ).items()
    }
    return ActionResult(
        sentence=f"Changed: {len(changed)}. Tasks that are taken up from now on go by it.",
        details={"count": len(changed), "tools": dict(list(changed.items())[:MAX_CHANGES])},
    )


PERMISSIONS = RowAction(
    name="permissions",
    verb="Tool permissions",
    question="What its agent may do by itself. A tool that requires approval is hidden until "
    "approvals exist; one that is disabled is never shown.",
    form=PermissionsForm,
    perform=_permit,
    template="admin/integrations/permissions.html",
)


@admin.register(Navigator)
class NavigatorAdmin(RowActionsAdmin):
    """Navigators."""

    project_paths = ("project",)
    list_display = ("name", "project", "model", "created_at")
    list_select_related = ("project__tenant",)
    search_fields = ("name", "project__name")
    fields = ("id", "project", "name", "model", "created_at")
    row_actions = (PERMISSIONS,)
    change_form_template = "admin/integrations/navigator.html"

    def extra_context_for(self, row: Navigator) -> dict[str, Any]:
        """What it may not do by itself."""
        rows = row.tool_permissions.exclude(permission=Permission.ALWAYS_EXECUTE.value)
        return {"held_back": rows.select_related("instance__server").order_by("tool")}


@admin.register(ToolPermission)
class ToolPermissionAdmin(ReadOnlyAdmin):
    """What navigators may do with tools."""

    project_paths = ("navigator__project",)
    list_display = ("tool", "permission", "navigator", "instance")
    list_select_related = ("navigator", "instance__server", "instance__project")
    search_fields = ("tool",)
    fields = ("navigator", "instance", "tool", "permission")
