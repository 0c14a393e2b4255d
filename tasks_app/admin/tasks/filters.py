"""The filters of the list of tasks."""

from __future__ import annotations

import datetime
from typing import Any

from django.conf import settings
from django.contrib.admin import SimpleListFilter
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest

from agent_runtime.outcome import StopReason
from caylex_project.accounts.models import Project
from caylex_project.accounts.staff_scope import visible_projects
from caylex_project.accounts.suspension import active_projects, suspended_projects
from caylex_project.db.clock import clock
from caylex_project.integrations.models import Server
from tasks_app.models import ToolCall
from tasks_app.states import Status, WorkerState

MAX_CHOICES = 50
OVERDUE = datetime.timedelta(minutes=5)
WEEK = datetime.timedelta(days=7)
_PERIODS = {
    "1h": ("In the last hour", datetime.timedelta(hours=1)),
    "24h": ("In the last 24 hours", datetime.timedelta(hours=24)),
    "7d": ("In the last 7 days", WEEK),
    "30d": ("In the last 30 days", datetime.timedelta(days=30)),
}


def pending(tasks: QuerySet[Any], *, due: bool, now: datetime.datetime) -> QuerySet[Any]:
    """Return those that wait for a worker, or for the time of their next attempt."""
    when = {"next_attempt_at__lte" if due else "next_attempt_at__gt": now}
    return tasks.filter(status=Status.PENDING, project__in=active_projects(), **when)


def suspended(tasks: QuerySet[Any]) -> QuerySet[Any]:
    """Return those that wait until their project and tenant go on."""
    return tasks.filter(status=Status.PENDING, project__in=suspended_projects())


class Choice(SimpleListFilter):
    """A filter whose value is one of its choices: the list refuses all others."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the tasks that the chosen value leaves."""
        value = self.value()
        return queryset if value is None else self.chosen(queryset, value)

    def chosen(self, tasks: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Return the tasks with this value."""
        return tasks.filter(**{str(self.parameter_name): value})


class StateFilter(Choice):
    """Where it stands; what is pending is queued, waits for its next attempt, or is paused."""

    title = "state"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The states, pending in three."""
        ended = [(each.value, each.value.capitalize()) for each in Status if each.terminal]
        return [
            ("queued", "Queued"),
            ("waiting", "Waiting to retry"),
            ("suspended", "Paused"),
            (Status.RUNNING.value, "Running"),
            *ended,
        ]

    def chosen(self, tasks: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Pending ones by whether they may be claimed, and whether they are due."""
        if value == "suspended":
            return suspended(tasks)
        if value in ("queued", "waiting"):
            return pending(tasks, due=value == "queued", now=clock.now())
        return tasks.filter(status=value)


class StopReasonFilter(Choice):
    """Why it ended."""

    title = "stop reason"
    parameter_name = "stop_reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """All of them."""
        return [(each.value, each.value.replace("_", " ").capitalize()) for each in StopReason]


class ProjectFilter(Choice):
    """The project, of those that the user may see."""

    title = "project"
    parameter_name = "project"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The first of them by name."""
        projects = Project.objects.select_related("tenant").order_by("tenant__name", "name")
        visible = visible_projects(request.user)
        if visible is not None:
            projects = projects.filter(pk__in=visible)
        return [(str(each.pk), str(each)) for each in projects[:MAX_CHOICES]]


class ModelFilter(Choice):
    """The model, of those that are allowed."""

    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """From the settings: the tasks' own would have to be looked for among all."""
        return [(each, each) for each in settings.ENVIRONMENT.caylex_allowed_models]


class ServerFilter(Choice):
    """The server that it called."""

    title = "server called"
    parameter_name = "server"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The first names."""
        servers = Server.objects.order_by("name")
        visible = visible_projects(request.user)
        if visible is not None:
            servers = servers.filter(instances__project__in=visible)
        names = servers.values_list("name", flat=True).distinct()[:MAX_CHOICES]
        return [(name, name) for name in names]

    def chosen(self, tasks: QuerySet[Any], value: str) -> QuerySet[Any]:
        """In the last week: no index knows of it."""
        calls = ToolCall.objects.filter(step__task=OuterRef("pk"), server=value)
        return tasks.filter(Exists(calls), created_at__gt=clock.now() - WEEK)


class PeriodFilter(Choice):
    """How long ago something was."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """An hour to a month."""
        return [(name, words) for name, (words, _) in _PERIODS.items()]

    field = "created_at"

    def chosen(self, tasks: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Since then."""
        return tasks.filter(**{f"{self.field}__gt": clock.now() - _PERIODS[value][1]})


class CreatedFilter(PeriodFilter):
    """When it was submitted."""

    title = "created"
    parameter_name = "created"


class EndedFilter(PeriodFilter):
    """When it ended."""

    title = "ended"
    parameter_name = "ended"
    field = "completed_at"


class TroubleFilter(Choice):
    """What a person may have to look at."""

    title = "trouble"
    parameter_name = "trouble"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Repeated attempts, and what does not move."""
        return [("attempts", "Attempts above one"), ("stuck", "Stuck")]

    def chosen(self, tasks: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Stuck: held by nobody who answers, or due for long."""
        now = clock.now()
        if value == "attempts":
            return tasks.filter(attempt__gt=1, created_at__gt=now - WEEK)
        living = [WorkerState.ALIVE, WorkerState.DRAINING]
        orphaned = Q(status=Status.RUNNING) & (
            Q(worker__lease_until__lte=now) | ~Q(worker__state__in=living)
        )
        overdue = Q(status=Status.PENDING, next_attempt_at__lte=now - OVERDUE)
        return tasks.filter(orphaned | overdue & Q(project__in=active_projects()))


FILTERS = (
    StateFilter,
    TroubleFilter,
    CreatedFilter,
    EndedFilter,
    ProjectFilter,
    StopReasonFilter,
    ModelFilter,
    ServerFilter,
)
