"""The admin of steps, tool calls, events and workers."""

from __future__ import annotations

import django_q.admin  # noqa: F401  registers its models, which are taken away again below
from django.contrib import admin

from tasks_app.admin.readonly import ReadOnlyAdmin, ReadOnlyInline
from tasks_app.models import Event, Step, ToolCall, Worker

# A view-only user could run any function from there, and a schedule is code execution.
for registered in list(admin.site._registry):
    if registered._meta.app_label == "django_q":
        admin.site.unregister(registered)


class ToolCallInline(ReadOnlyInline):
    """A step's tool calls."""

    model = ToolCall
    fields = ("index", "name", "server", "tool", "state", "started_at", "completed_at")
    ordering = ["index"]


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
