"""Cancel, retry and rerun in the admin: a page that asks, then the same operations as the API's.

Only a POST does anything. What was done, by whom and why is in the audit trail, written in the
same transaction.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from tasks_app.admin.questions import (
    ACTIONS,
    CANCEL,
    RETRY,
    Action,
    ReasonForm,
    ids_in,
    moment_in,
)
from tasks_app.models import AgentTask
from tasks_app.operations import bulk, locked, staff

if TYPE_CHECKING:
    BaseAdmin = admin.ModelAdmin[models.Model]
else:
    BaseAdmin = admin.ModelAdmin

MOST_TASKS = 500  # of one request; each takes a transaction of its own
MOST_IN_BULK = 20_000  # of one operation that the workers do
IN_BULK = (
    "The workers do it one by one: all that match when you confirm, of those submitted by now."
)


class OperatedAdmin(BaseAdmin):
    """Tasks that staff can cancel, retry and run anew after a page that asks.

    A page's address is that of the list and the action's name; `task` holds the ids. The class
    that inherits from this one names `cancel_tasks` and `retry_tasks` among its actions.
    """

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whoever has the permission to change a task."""
        return staff.may_operate(request.user)

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
        ids_in(request.POST.getlist(ACTION_CHECKBOX_NAME))
        return super().response_action(request, queryset, *args, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        """Add a page for each action."""
        return [*(self._page(each) for each in ACTIONS), *super().get_urls()]

    def offers(self, request: HttpRequest, task: AgentTask) -> dict[str, Any]:
        """Return what the user can do with the task, each with the page that asks."""
        may = self.has_operate_permission(request)
        offered = [
            {
                "name": each.name,
                "verb": each.verb,
                "address": f"{self._address(each.name)}?task={task.pk}",
            }
            for each in ACTIONS
            if may and task.status in each.applies_in
        ]
        return {"task_actions": offered, "may_resend": may}

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
            return self._ask_in_bulk(request, action, ReasonForm(), until=timezone.now())
        if not tasks:
            raise Http404
        return self._ask(request, action, tasks, ReasonForm())

    def _ask_in_bulk(
        self,
        request: HttpRequest,
        action: Action,
        form: forms.Form,
        *,
        until: datetime.datetime,
    ) -> HttpResponse:
        """Ask about all that match the list's filters, of those submitted by `until`."""
        count = self._matching(request, until)[: MOST_IN_BULK + 1].count()
        if not 0 < count <= MOST_IN_BULK:
            return self._refuse_bulk(request, count)
        filters = request.GET.copy()
        filters.pop("p", None)
        query = filters.urlencode()
        question = {
            "title": f"{action.verb} {count:,} tasks?",
            "question": f"{action.question} {IN_BULK}",
            "verb": action.verb,
            "address": f"{self._address(action.name)}?{query}",
            "back": f"{self._address('changelist')}?{query}",
            "hidden": [("until", until.isoformat())],
            "form": form,
        }
        return self.ask(request, question)

    def _begin_in_bulk(self, request: HttpRequest, action: Action) -> HttpResponse:
        """Have the workers do it with all that match. Raises Http404."""
        until = moment_in(request.POST["until"])
        form = ReasonForm(request.POST)
        if not form.is_valid():
            return self._ask_in_bulk(request, action, form, until=until)
        ids = self._matching(request, until).values_list("pk", flat=True)[: MOST_IN_BULK + 1]
        task_ids = list(ids)
        if not 0 < len(task_ids) <= MOST_IN_BULK:
            return self._refuse_bulk(request, len(task_ids))
        operation = bulk.begin(
            action=action.name,
            task_ids=task_ids,
            actor=request.user,
            reason=form.cleaned_data["reason"],
            now=timezone.now(),
        )
        page = reverse("admin:tasks_app_bulkoperation_change", args=[operation.pk])
        return HttpResponseRedirect(page)

    def _refuse_bulk(self, request: HttpRequest, count: int) -> HttpResponse:
        most = f"Choose at most {MOST_IN_BULK:,} tasks at a time."
        self._complain(request, most if count else "No task matches any more.")
        return HttpResponseRedirect(self._address("changelist"))

    def _matching(self, request: HttpRequest, until: datetime.datetime) -> models.QuerySet[Any]:
        """Return the tasks that the list's filters leave. Raises Http404 for odd filters."""
        try:
            found = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            raise Http404 from None
        return found.filter(created_at__lte=until)

    def _ask(
        self, request: HttpRequest, action: Action, tasks: Sequence[AgentTask], form: forms.Form
    ) -> HttpResponse:
        alone = len(tasks) == 1
        question = {
            "title": f"{action.verb} {len(tasks)} task{'' if alone else 's'}?",
            "question": action.question,
            "verb": action.verb,
            "address": self._address(action.name),
            "back": self._address("change", tasks[0].pk) if alone else self._address("changelist"),
            "columns": ("Task", "Status", "Project", "User"),
            "rows": [(each.pk, each.status, each.project, each.end_user) for each in tasks],
            "hidden": [("task", each.pk) for each in tasks],
            "form": form,
        }
        return self.ask(request, question)

    def ask(self, request: HttpRequest, question: dict[str, Any]) -> HttpResponse:
        """Answer the page that asks before anything is done."""
        context = {**self.admin_site.each_context(request), "opts": self.opts, **question}
        return TemplateResponse(request, "admin/tasks_app/agenttask/confirm.html", context)

    def _answer(self, request: HttpRequest, action: Action) -> HttpResponse:
        """Ask, or where the answer has come do it. Raises Http404, PermissionDenied."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        posted = request.method == "POST"
        if posted and "until" in request.POST:
            return self._begin_in_bulk(request, action)
        ids = ids_in((request.POST if posted else request.GET).getlist("task"))
        if len(ids) > MOST_TASKS:
            self._complain(request, f"Choose at most {MOST_TASKS} tasks at a time.")
            return HttpResponseRedirect(self._address("changelist"))
        chosen: models.QuerySet[Any] = self.get_queryset(request).filter(pk__in=ids)
        tasks = list(chosen.select_related("project__tenant", "end_user").order_by("-created_at"))
        if not tasks:
            raise Http404
        form = ReasonForm(request.POST if posted else None)
        if not form.is_valid():
            return self._ask(request, action, tasks, form)
        made = self._perform(request, action, tasks, form.cleaned_data["reason"])
        if len(ids) > 1:
            return HttpResponseRedirect(self._address("changelist"))
        return HttpResponseRedirect(self._address("change", made or tasks[0].pk))

    def _perform(
        self, request: HttpRequest, action: Action, tasks: Sequence[AgentTask], reason: str
    ) -> str | None:
        """Do it task by task and tell what came of it; return the new task, if one was made."""
        left: Counter[str] = Counter()
        new: str | None = None
        for task in tasks:
            try:
                made = staff.act(
                    action=action.name,
                    task_id=task.pk,
                    actor=request.user,
                    reason=reason,
                    now=timezone.now(),
                )
                new = made.get("new_task")
            except staff.NotDone as refused:
                left[str(refused)] += 1
            except locked.TaskNotFound:
                left["There is no such task any more."] += 1
        if done := len(tasks) - left.total():
            self.message_user(request, f"{action.done.capitalize()}: {done}.", messages.SUCCESS)
        for why, count in left.items():
            self._complain(request, f"Not {action.done}: {count}. {why}")
        return new

    def _complain(self, request: HttpRequest, sentence: str) -> None:
        self.message_user(request, sentence, messages.WARNING)
