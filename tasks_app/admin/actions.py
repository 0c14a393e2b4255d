"""Cancel and retry in the admin: a page that asks, then the same operations as the API's.

Only a POST does anything. What was done, by whom and why is in the task's history, written in the
same transaction.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from caylex_project.accounts.audit import record
from tasks_app.models import AgentTask
from tasks_app.operations import locked, runs, stop
from tasks_app.operations.pending import TooManyPending
from tasks_app.serializers import CONTROL_REFUSED, holds_control_characters
from tasks_app.states import Status

if TYPE_CHECKING:
    BaseAdmin = admin.ModelAdmin[models.Model]
else:
    BaseAdmin = admin.ModelAdmin

MOST_TASKS = 500  # at a time; each takes a transaction of its own within one request


class NotDone(Exception):
    """The task was left as it is; `str()` says why."""


def _on_one_line(text: str) -> None:
    if holds_control_characters(text):
        raise ValidationError(CONTROL_REFUSED)


class ReasonForm(forms.Form):
    """Why the tasks are cancelled."""

    reason = forms.CharField(
        max_length=stop.MAX_REASON,
        required=False,
        validators=[_on_one_line],
        help_text="Stands in each task's report and in its history.",
    )


def _cancel(task_id: uuid.UUID, answers: dict[str, Any]) -> str:
    """Cancel a task and return what its history says. Raises NotDone, TaskNotFound."""
    reason: str = answers["reason"]
    if not stop.cancel(task_id=task_id, tenant_id=None, reason=reason, now=timezone.now()):
        raise NotDone("What has ended cannot be cancelled.")
    return f"Cancelled: {reason}" if reason else "Cancelled."


def _retry(task_id: uuid.UUID, answers: dict[str, Any]) -> str:
    """Retry a task and return what its history says. Raises NotDone, TaskNotFound."""
    try:
        runs.retry(task_id=task_id, tenant_id=None, now=timezone.now())
    except (runs.RetryRefused, TooManyPending) as refused:
        raise NotDone(str(refused)) from None
    return "Retried."


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something that can be done with tasks; `applies_in` are the states in which it can."""

    name: str
    verb: str
    done: str
    question: str
    applies_in: frozenset[Status]
    form: type[forms.Form]
    perform: Callable[[uuid.UUID, dict[str, Any]], str]


CANCEL = Action(
    name="cancel",
    verb="Cancel",
    done="cancelled",
    question="They stop for good: those that wait at once, those that run within two seconds.",
    applies_in=frozenset({Status.PENDING, Status.RUNNING}),
    form=ReasonForm,
    perform=_cancel,
)
RETRY = Action(
    name="retry",
    verb="Retry",
    done="retried",
    question="They go on from their last completed step, with fresh attempts and limits.",
    applies_in=frozenset({Status.FAILED, Status.INCOMPLETE}),
    form=forms.Form,
    perform=_retry,
)


class OperatedAdmin(BaseAdmin):
    """Tasks that staff can cancel and retry, one or many, after a page that asks.

    A page's address is that of the list and the action's name; `task` holds the ids. The class
    that inherits from this one names `cancel_tasks` and `retry_tasks` among its actions.
    """

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whoever has the permission to change a task."""
        codename = get_permission_codename("change", self.opts)
        return bool(request.user.has_perm(f"{self.opts.app_label}.{codename}"))

    @admin.action(description="Cancel selected tasks", permissions=["operate"])
    def cancel_tasks(
        self, request: HttpRequest, queryset: models.QuerySet[Any]
    ) -> HttpResponse | None:
        """Ask whether to cancel the chosen tasks."""
        return self._ask_about(request, CANCEL, queryset)

    @admin.action(description="Retry selected tasks", permissions=["operate"])
    def retry_tasks(
        self, request: HttpRequest, queryset: models.QuerySet[Any]
    ) -> HttpResponse | None:
        """Ask whether to retry the chosen tasks."""
        return self._ask_about(request, RETRY, queryset)

    def response_action(
        self, request: HttpRequest, queryset: models.QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Do what the list was told to. Raises Http404 for an id that is none."""
        _ids(request.POST.getlist(ACTION_CHECKBOX_NAME))
        return super().response_action(request, queryset, *args, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        """Add a page for each action."""
        return [self._page(CANCEL), self._page(RETRY), *super().get_urls()]

    def offered(self, request: HttpRequest, task: AgentTask) -> list[dict[str, str]]:
        """Return what the user can do with the task, each with the page that asks."""
        if not self.has_operate_permission(request):
            return []
        return [
            {
                "name": each.name,
                "verb": each.verb,
                "address": f"{self._address(each.name)}?task={task.pk}",
            }
            for each in (CANCEL, RETRY)
            if task.status in each.applies_in
        ]

    def _page(self, action: Action) -> URLPattern:
        def page(request: HttpRequest) -> HttpResponse:
            return self._answer(request, action)

        name = f"{self.opts.app_label}_{self.opts.model_name}_{action.name}"
        return path(f"{action.name}/", self.admin_site.admin_view(page), name=name)

    def _address(self, view: str, *arguments: Any) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{view}"
        return reverse(name, args=arguments)

    def _ask_about(
        self, request: HttpRequest, action: Action, queryset: models.QuerySet[Any]
    ) -> HttpResponse | None:
        tasks = list(queryset[: MOST_TASKS + 1])
        if len(tasks) > MOST_TASKS:
            self._complain(request, f"Choose at most {MOST_TASKS} tasks at a time.")
            return None
        if not tasks:
            raise Http404
        return self._ask(request, action, tasks, action.form())

    def _ask(
        self, request: HttpRequest, action: Action, tasks: Sequence[AgentTask], form: forms.Form
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"{action.verb} {len(tasks)} task{'' if len(tasks) == 1 else 's'}?",
            "opts": self.opts,
            "action": action,
            "address": self._address(action.name),
            "tasks": tasks,
            "form": form,
        }
        return TemplateResponse(request, "admin/tasks_app/agenttask/confirm.html", context)

    def _answer(self, request: HttpRequest, action: Action) -> HttpResponse:
        """Ask, or where the answer has come do it. Raises Http404, PermissionDenied."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        posted = request.method == "POST"
        ids = _ids((request.POST if posted else request.GET).getlist("task"))
        if len(ids) > MOST_TASKS:
            self._complain(request, f"Choose at most {MOST_TASKS} tasks at a time.")
            return HttpResponseRedirect(self._address("changelist"))
        chosen: models.QuerySet[Any] = self.get_queryset(request).filter(pk__in=ids)
        tasks = list(chosen.select_related("project", "end_user").order_by(*self.ordering or ()))
        if not tasks:
            raise Http404
        form = action.form(request.POST if posted else None)
        if not form.is_valid():
            return self._ask(request, action, tasks, form)
        self._perform(request, action, tasks, form.cleaned_data)
        alone = self._address("change", tasks[0].pk) if len(ids) == 1 else None
        return HttpResponseRedirect(alone or self._address("changelist"))

    def _perform(
        self,
        request: HttpRequest,
        action: Action,
        tasks: Sequence[AgentTask],
        answers: dict[str, Any],
    ) -> None:
        """Do it task by task, each with its line in the history, and tell what came of it."""
        left: Counter[str] = Counter()
        for task in tasks:
            try:
                with transaction.atomic():
                    self.log_change(request, task, action.perform(task.pk, answers))
                    record(
                        actor=request.user,
                        action=action.name,
                        on=task,
                        project_id=task.project_id,
                        reason=answers.get("reason", ""),
                        now=timezone.now(),
                    )
            except NotDone as refused:
                left[str(refused)] += 1
            except locked.TaskNotFound:
                left["There is no such task any more."] += 1
        if done := len(tasks) - left.total():
            self.message_user(request, f"{action.done.capitalize()}: {done}.", messages.SUCCESS)
        for why, count in left.items():
            self._complain(request, f"Not {action.done}: {count}. {why}")

    def _complain(self, request: HttpRequest, sentence: str) -> None:
        self.message_user(request, sentence, messages.WARNING)


def _ids(texts: Sequence[str]) -> list[uuid.UUID]:
    """Return each id once. Raises Http404 where one is none: no such task can exist."""
    try:
        return list(dict.fromkeys(uuid.UUID(text) for text in texts))
    except ValueError:
        raise Http404 from None
