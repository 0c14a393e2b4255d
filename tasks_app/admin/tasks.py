"""The admin of tasks: the list of them."""

from __future__ import annotations

from django.contrib import admin

from tasks_app.admin.actions import OperatedAdmin
from tasks_app.admin.readonly import ReadOnlyAdmin, ReadOnlyInline
from tasks_app.models import AgentTask, Event, Step


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


@admin.register(AgentTask)
class AgentTaskAdmin(OperatedAdmin, ReadOnlyAdmin):
    """Tasks."""

    list_display = ["id", "status", "project", "end_user", "steps_completed", "created_at"]
    list_filter = ["status", "stop_reason"]
    list_select_related = ["project__tenant", "end_user"]
    ordering = ["-created_at", "-id"]
    inlines = [StepInline, EventInline]
    actions = ("cancel_tasks", "retry_tasks")
