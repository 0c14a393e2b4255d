"""The admin of steps, tool calls and events."""

from __future__ import annotations

from typing import Any, ClassVar

import django_q.admin  # noqa: F401  registers its models, which are taken away again below
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from caylex_project.accounts.staff import visible_projects
from tasks_app.admin.page import may_see_payloads
from tasks_app.admin.readonly import ReadOnlyAdmin, ReadOnlyInline
from tasks_app.models import Event, Step, ToolCall

# A view-only user could run any function from there, and a schedule is code execution.
for registered in list(admin.site._registry):
    if registered._meta.app_label == "django_q":
        admin.site.unregister(registered)


class ToolCallInline(ReadOnlyInline):
    """A step's tool calls."""

    model = ToolCall
    fields = ("index", "name", "server", "tool", "state", "started_at", "completed_at")
    ordering = ["index"]


class PayloadAdmin(ReadOnlyAdmin):
    """Rows of a task's journal: of visible projects, payloads for whom may see them."""

    payloads: ClassVar[tuple[str, ...]] = ()
    project = "task__project"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Those of the projects that the user may see."""
        rows = super().get_queryset(request)
        visible = visible_projects(request.user)
        return rows if visible is None else rows.filter(**{f"{self.project}__in": visible})

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The payloads, where the user may not see them."""
        return () if may_see_payloads(request) else self.payloads


@admin.register(Step)
class StepAdmin(PayloadAdmin):
    """Steps."""

    payloads = ("request", "response")

    list_display = ["id", "task", "run_number", "index", "finish_reason", "completed_at"]
    list_select_related = ["task"]
    ordering = ["-completed_at", "-id"]
    inlines = [ToolCallInline]


@admin.register(ToolCall)
class ToolCallAdmin(PayloadAdmin):
    """Tool calls."""

    payloads = ("arguments", "result")
    project = "step__task__project"

    list_display = ["id", "name", "server", "state", "started_at", "completed_at"]
    list_filter = ["state"]
    ordering = ["-started_at", "-id"]


@admin.register(Event)
class EventAdmin(PayloadAdmin):
    """Events."""

    list_display = ["id", "task", "sequence", "kind", "at"]
    list_select_related = ["task"]
    ordering = ["-id"]
