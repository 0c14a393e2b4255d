"""The admin of workers: which processes run, when they were last heard of, and what they hold."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.utils.html import format_html

from caylex_project.accounts.admin.row_actions import RowActionsAdmin
from caylex_project.db.clock import clock
from tasks_app.admin.tasks import formatting
from tasks_app.models import AgentTask, Worker
from tasks_app.states import WorkerState

MAX_HELD = 100  # tasks that are named on a worker's page
_LIVING = (WorkerState.ALIVE.value, WorkerState.DRAINING.value)
_COLOURS = {
    WorkerState.ALIVE: "COMPLETED",
    WorkerState.DRAINING: "INCOMPLETE",
    WorkerState.GONE: "PENDING",
    WorkerState.DEAD: "FAILED",
}


@admin.register(Worker)
class WorkerAdmin(RowActionsAdmin):
    """Workers, to look at. They serve all projects: not for staff who are limited to some."""

    list_display = (
        *("__str__", "standing", "heartbeat", "held", "capacity", "version", "started_at"),
    )
    list_filter = ("state",)
    search_fields = ("host", "=pid")
    ordering = ("-started_at",)
    fields = (
        *("id", "host", "pid", "version", "standing", "heartbeat", "lease_until"),
        *("held", "capacity", "started_at", "machine"),
    )
    readonly_fields = ("standing", "heartbeat")
    change_form_template = "admin/tasks_app/worker.html"

    @admin.display(description="State", ordering="state")
    def standing(self, worker: Worker) -> str:
        """Its state in a word and a colour."""
        state = WorkerState(worker.state)
        return format_html('<span class="state {}">{}</span>', _COLOURS[state], state.value)

    @admin.display(description="Last heard of", ordering="lease_until")
    def heartbeat(self, worker: Worker) -> str:
        """How long ago its lease was last renewed; a dash for one that is gone."""
        if worker.state not in _LIVING:
            return "–"
        left = (worker.lease_until - clock.now()).total_seconds()
        age = max(0.0, settings.ENVIRONMENT.caylex_lease_seconds - left)
        late = "; its lease has ended" if left <= 0 else ""
        return f"{formatting.duration(round(age))} ago{late}"

    def extra_context_for(self, row: Worker) -> dict[str, Any]:
        """The tasks that it holds now."""
        held = AgentTask.objects.filter(worker=row).select_related("project__tenant", "end_user")
        return {"held": held.order_by("-created_at", "-id").defer("prompt", "report")[:MAX_HELD]}
