"""The admin of steps, tool calls and events."""

from __future__ import annotations

from typing import Any, ClassVar

import django_q.admin  # noqa: F401  registers its models, which are taken away again below
from django.contrib import admin
from django.http import HttpRequest

from caylex_project.accounts.admin.base import ReadOnlyAdmin
from caylex_project.db.clock import clock
from tasks_app.admin.base import ReadOnlyInline
from tasks_app.admin.links import task_link
from tasks_app.admin.tasks.payloads import payloads_open
from tasks_app.models import AgentTask, Event, Step, ToolCall

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
    """Rows of a task's journal, their payloads for whom the task's are open."""

    payloads: ClassVar[tuple[str, ...]] = ()

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The payloads, where they are not open."""
        if obj is None or not payloads_open(request, self.task_of(obj), now=clock.now()):
            return self.payloads
        return ()

    def task_of(self, row: Any) -> AgentTask:
        """Return the task that the row tells of."""
        task: AgentTask = row.task
        return task

    @admin.display(description="Task")
    def of_task(self, row: Any) -> str:
        """The task that the row tells of."""
        return task_link(row.task_id)


@admin.register(Step)
class StepAdmin(PayloadAdmin):
    """Steps."""

    project_paths = ("task__project",)
    payloads = ("request", "response")

    list_display = ("__str__", "of_task", "model", "finish_reason", "completed_at")
    ordering = ("-completed_at", "-id")
    inlines = (ToolCallInline,)


@admin.register(ToolCall)
class ToolCallAdmin(PayloadAdmin):
    """Tool calls."""

    project_paths = ("step__task__project",)
    payloads = ("arguments", "result")

    list_display = ("name", "of_task", "state", "started_at", "completed_at")
    list_select_related = ("step",)
    list_filter = ("state",)
    ordering = ("-started_at", "-id")

    def task_of(self, row: Any) -> AgentTask:
        """Return the task of its step."""
        task: AgentTask = row.step.task
        return task

    @admin.display(description="Task")
    def of_task(self, row: Any) -> str:
        """The task of its step."""
        return task_link(row.step.task_id)


@admin.register(Event)
class EventAdmin(PayloadAdmin):
    """Events."""

    project_paths = ("task__project",)
    payloads = ("data",)

    list_display = ("kind", "of_task", "sequence", "at")
    ordering = ("-id",)
