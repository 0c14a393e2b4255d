"""The admin of tasks: the list of them, and the page of each."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Substr
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from caylex_project.accounts.site.query_params import CheckedList
from caylex_project.db.clock import clock
from tasks_app.admin.action_forms import CANCEL, OF_TASKS, RETRY
from tasks_app.admin.auth_link import give_link, offers_link
from tasks_app.admin.base import LivePageAdmin
from tasks_app.admin.bulk_actions import BulkActionAdmin
from tasks_app.admin.tasks import formatting, fragments
from tasks_app.admin.tasks.counters import counters_of
from tasks_app.admin.tasks.filters import FILTERS
from tasks_app.admin.tasks.page import (
    addresses,
    commands,
    journal_context,
    now_context,
)
from tasks_app.admin.tasks.payloads import may_see_payloads, open_payloads
from tasks_app.admin.tasks.search import HELP, search
from tasks_app.models import AgentTask

LINE = 120  # characters of a prompt in the list
MAX_PAGES = 200
_NOT_IN_LIST = (
    *("prompt", "report", "limits", "metadata", "webhook", "required_skill", "opening_notes"),
    *("authentication_needed", "error", "project__instructions", "project__limits"),
    "project__tenant__limits",
)


class UncountedChangeList(CheckedList):
    """A page of the newest tasks; it counts no further than to know whether there is another."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the page and one row more."""
        page = min(self.page_num, MAX_PAGES)
        first = (page - 1) * self.list_per_page
        rows = list(self.queryset[first : first + self.list_per_page + 1])
        self.page_num = page
        self.result_list = rows[: self.list_per_page]
        self.has_older = len(rows) > self.list_per_page and page < MAX_PAGES
        self.result_count = first + len(rows)
        self.full_result_count = self.result_count
        self.show_full_result_count = False
        self.show_admin_actions = bool(rows)
        self.can_show_all = False
        self.multi_page = page > 1 or self.has_older
        self.paginator = self.model_admin.get_paginator(
            request, self.result_list, self.list_per_page
        )

    def older(self) -> str:
        """The address of the next page, or nothing."""
        return self.get_query_string({"p": self.page_num + 1}) if self.has_older else ""

    def newer(self) -> str:
        """The address of the page before, or nothing."""
        return self.get_query_string({"p": self.page_num - 1}) if self.page_num > 1 else ""


@admin.register(AgentTask)
class AgentTaskAdmin(BulkActionAdmin, LivePageAdmin):
    """Tasks."""

    project_paths = ("project",)
    page_template = "admin/tasks_app/agenttask/page.html"
    list_filter = FILTERS
    list_select_related = ("project__tenant", "end_user")
    list_display_links = ("short_id",)
    sortable_by = ()
    show_facets = admin.ShowFacets.NEVER  # each would be a count
    search_fields = ("pk",)
    search_help_text = HELP
    ordering = ("-created_at", "-id")
    actions = ("cancel_tasks", "retry_tasks")
    operations = OF_TASKS
    noun = "task"
    columns = ("Task", "Status", "Project", "User")
    columns_related = ("project__tenant", "end_user")

    @admin.action(description="Cancel selected tasks", permissions=["operate"])
    def cancel_tasks(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Ask whether to cancel the chosen tasks."""
        return self.confirm(request, CANCEL, queryset)

    @admin.action(description="Retry selected tasks", permissions=["operate"])
    def retry_tasks(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Ask whether to retry the chosen tasks."""
        return self.confirm(request, RETRY, queryset)

    def row_cells(self, row: AgentTask) -> tuple[Any, ...]:
        """The task in the columns of the page that asks."""
        return row.pk, row.status, row.project, row.end_user

    def page_after(self, row: AgentTask, new: str | None) -> str:
        """The task's page, or that of the new one."""
        return self.address_of("change", new or row.pk)

    def available_actions(self, request: HttpRequest, task: AgentTask) -> dict[str, Any]:
        """Return what the user can do with the task, each with the page that asks."""
        may = self.has_operate_permission(request)
        offered = [
            {"name": each.name, "verb": each.verb, "address": self.confirmation_url(each, task)}
            for each in self.operations
            if may and task.status in each.applies_in
        ]
        return {
            "task_actions": offered,
            "may_resend": may,
            "offers_link": offers_link(request, task),
        }

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Pages without a count."""
        return UncountedChangeList

    def get_list_display(self, request: HttpRequest) -> Any:
        """The columns; the prompt's first line for whom may see it."""
        columns = ["short_id", "state", "project", "end_user", "age", "took", "steps", "cost"]
        if may_see_payloads(request):
            columns.insert(4, "first_line")
        return columns

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """What the text names."""
        found = search(queryset, search_term).defer(*_NOT_IN_LIST)
        return found.annotate(line=Substr("prompt", 1, LINE)), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list below its counters."""
        context = {
            **(extra_context or {}),
            "is_nav_sidebar_enabled": False,  # the room is for the columns
        }
        if request.method == "GET" and self.has_view_permission(request):
            counters, bars = counters_of(self.get_queryset(request), now=clock.now())
            context |= {"counters": counters, "bars": bars}
        return super().changelist_view(request, context)

    def page_context(self, request: HttpRequest, object_id: str) -> dict[str, Any]:
        """What stands on a task's page. Raises Http404, PermissionDenied."""
        task, now = self._task(request, object_id), clock.now()
        return {
            **now_context(request, task, now=now),
            **journal_context(request, task, now=now),
            **self.available_actions(request, task),
            **commands(request, task, now=now),
            "is_nav_sidebar_enabled": False,
            "addresses": addresses(task),
            "title": f"Task {str(task.pk)[:8]}",
        }

    def get_urls(self) -> list[URLPattern]:
        """Add what the page fetches."""
        name = "tasks_app_agenttask"
        own = self.admin_site.admin_view
        return [
            path("<uuid:task_id>/live/", own(self.live_view), name=f"{name}_live"),
            path("<uuid:task_id>/download/", own(self.download_view), name=f"{name}_download"),
            path("<uuid:task_id>/link/", own(self.link_view), name=f"{name}_link"),
            path("<uuid:task_id>/payloads/", own(self.open_view), name=f"{name}_open"),
            path("payload/<slug:part>/<uuid:pk>/", own(self.payload_view), name=f"{name}_payload"),
            *super().get_urls(),
        ]

    def open_view(self, request: HttpRequest, task_id: uuid.UUID) -> HttpResponse:
        """Open the task's payloads to the user. Raises Http404, PermissionDenied."""
        task = self._task(request, task_id)
        if request.method != "POST":
            raise PermissionDenied
        return open_payloads(request, task)

    def link_view(self, request: HttpRequest, task_id: uuid.UUID) -> HttpResponse:
        """A link for the task's end user. Raises Http404, PermissionDenied."""
        return give_link(request, self._task(request, task_id))

    def live_view(self, request: HttpRequest, task_id: uuid.UUID) -> HttpResponse:
        """The parts of the page that change."""
        task = self._task(request, task_id)
        return fragments.fragment(request, task, self.available_actions(request, task))

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The audit trail of the task. Raises Http404, PermissionDenied."""
        task = self._task(request, object_id)
        trail = reverse("admin:accounts_auditentry_changelist")
        return HttpResponseRedirect(f"{trail}?q={task.pk}")

    def download_view(self, request: HttpRequest, task_id: uuid.UUID) -> HttpResponse:
        """The task as a file."""
        return fragments.whole_task(request, self._task(request, task_id))

    def payload_view(self, request: HttpRequest, part: str, pk: uuid.UUID) -> HttpResponse:
        """One payload as a file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return fragments.payload(request, self.get_queryset(request), part, pk)

    def _task(self, request: HttpRequest, task_id: Any) -> AgentTask:
        if not self.has_view_permission(request):
            raise PermissionDenied
        tasks = self.get_queryset(request).select_related(
            "project__tenant", "navigator", "end_user", "worker"
        )
        try:
            task: AgentTask | None = tasks.filter(pk=uuid.UUID(str(task_id))).first()
        except ValueError:
            task = None
        if task is None:
            raise Http404
        return task

    @admin.display(description="Task")
    def short_id(self, task: AgentTask) -> str:
        """The first digits of its id."""
        return str(task.pk)[:8]

    @admin.display(description="State")
    def state(self, task: AgentTask) -> str:
        """Where it stands, in a word and a colour."""
        return format_html('<span class="state {0}">{0}</span>', task.status)

    @admin.display(description="Prompt")
    def first_line(self, task: Any) -> str:
        """The beginning of its prompt."""
        lines = task.line.strip().splitlines()
        return lines[0] if lines else ""

    @admin.display(description="Age")
    def age(self, task: AgentTask) -> str:
        """How long ago it was submitted."""
        past = (clock.now() - task.created_at).total_seconds()
        return format_html(
            '<time datetime="{}">{}</time>',
            task.created_at.isoformat(),
            formatting.duration(int(past)),
        )

    @admin.display(description="Took")
    def took(self, task: AgentTask) -> str:
        """How long it has run."""
        if task.started_at is None:
            return "–"
        seconds = ((task.completed_at or clock.now()) - task.started_at).total_seconds()
        return formatting.duration(round(max(0.0, seconds), 1))

    @admin.display(description="Steps")
    def steps(self, task: AgentTask) -> int:
        """How many are through."""
        return task.steps_completed

    @admin.display(description="Cost")
    def cost(self, task: AgentTask) -> str:
        """What was told of it."""
        return formatting.money(task.cost_usd)
