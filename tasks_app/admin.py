"""The admin of what is durable: every row can be read, and none can be edited here.

Tasks can be cancelled and retried: see `admin_actions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import django_q.admin  # noqa: F401  registers its models, which are taken away again below
from django.contrib import admin
from django.db import models
from django.http import HttpRequest

from tasks_app.admin_actions import OperatedAdmin
from tasks_app.models import AgentTask, Event, Step, ToolCall, Worker

if TYPE_CHECKING:
    BaseAdmin = admin.ModelAdmin[models.Model]
    BaseInline = admin.TabularInline[models.Model, models.Model]
else:
    BaseAdmin = admin.ModelAdmin
    BaseInline = admin.TabularInline

# A view-only user could run any function from there, and a schedule is code execution.
for registered in list(admin.site._registry):
    if registered._meta.app_label == "django_q":
        admin.site.unregister(registered)


class NoChange:
    """Nobody adds, changes or deletes."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False


class ReadOnlyAdmin(NoChange, BaseAdmin):
    """A page for each row and a list of them, to look at."""

    actions: Sequence[str] | None = None
    show_full_result_count = False
    list_per_page = 50


class ReadOnlyInline(NoChange, BaseInline):
    """Rows below another row, each with a link to its page."""

    extra = 0
    can_delete = False
    show_change_link = True


class StepInline(ReadOnlyInline):
    """A task's steps."""

    model = Step
    fields = ("run_number", "index", "finish_reason", "model", "started_at", "completed_at")
    ordering = ["run_number", "index"]


class EventInline(ReadOnlyInline):
    """A task's events."""

    model = Event
    fields = ("sequence", "kind", "at", "data")
    ordering = ["sequence"]


class ToolCallInline(ReadOnlyInline):
    """A step's tool calls."""

    model = ToolCall
    fields = ("index", "name", "server", "tool", "state", "started_at", "completed_at")
    ordering = ["index"]


@admin.register(AgentTask)
class AgentTaskAdmin(OperatedAdmin, ReadOnlyAdmin):
    """Tasks."""

    list_display = ["id", "status", "project", "end_user", "steps_completed", "created_at"]
    list_filter = ["status", "stop_reason"]
    list_select_related = ["project__tenant", "end_user"]
    ordering = ["-created_at", "-id"]
    inlines = [StepInline, EventInline]
    actions = ("cancel_tasks", "retry_tasks")


@admin.register(Step)
class StepAdmin(ReadOnlyAdmin):
    """Steps."""

    list_display = ["id", "task", "run_number", "index", "finish_reason", "completed_at"]
    list_select_related = ["task"]
    ordering = ["-completed_at", "-id"]
    inlines = [ToolCallInline]


@admin.register(ToolCall)
class ToolCallAdmin(ReadOnlyAdmin):
    """Tool calls."""

    list_display = ["id", "name", "server", "state", "started_at", "completed_at"]
    list_filter = ["state"]
    ordering = ["-started_at", "-id"]


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """Events."""

    list_display = ["id", "task", "sequence", "kind", "at"]
    list_select_related = ["task"]
    ordering = ["-id"]


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """Workers."""

    list_display = ["id", "host", "pid", "state", "lease_until", "held", "capacity"]
    ordering = ["-started_at"]
