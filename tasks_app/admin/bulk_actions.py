"""What staff do with rows of a list: a page that asks, then the same operations as the API's.

Only a POST does anything. What was done, by whom and why is in the audit trail, written in the
same transaction.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from caylex_project.db.clock import clock
from tasks_app.admin.action_forms import Action, ReasonForm, ids_in, moment_in
from tasks_app.operations import bulk, staff

if TYPE_CHECKING:
    BaseAdmin = admin.ModelAdmin[models.Model]
else:
    BaseAdmin = admin.ModelAdmin

MAX_ROWS = 500  # of one request; each takes a transaction of its own
MAX_IN_BULK = 20_000  # of one operation that the workers do
IN_BULK = "The workers do it one by one: all that match when you confirm, of those made by now."


class BulkActionAdmin(BaseAdmin):
    """Rows that staff act on, one or many, after a page that asks.

    A page's address is that of the list and the action's name; the parameter `noun` holds the
    ids. The class that inherits from this one has a method for each action of the list, which
    ends in `confirm`.
    """

    operations: ClassVar[tuple[Action, ...]] = ()
    noun: ClassVar[str] = ""
    columns: ClassVar[tuple[str, ...]] = ()  # of the rows on the page that asks
    columns_related: ClassVar[tuple[str, ...]] = ()

    def row_cells(self, row: Any) -> tuple[Any, ...]:
        """Return what stands in the columns."""
        raise NotImplementedError

    def page_after(self, row: Any, new: str | None) -> str:
        """Return where to go when it was done with one row; `new` is the id of what was made."""
        raise NotImplementedError

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Whoever has the permission to change a task."""
        return staff.may_operate(request.user)

    def response_action(
        self, request: HttpRequest, queryset: models.QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Do what the list was told to. Raises Http404 for an id that is none."""
        ids_in(request.POST.getlist(ACTION_CHECKBOX_NAME))
        return super().response_action(request, queryset, *args, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        """Add a page for each action."""
        return [*(self._page(each) for each in self.operations), *super().get_urls()]

    def confirmation_url(self, action: Action, row: Any) -> str:
        """Return the address of the page that asks about a row."""
        return f"{self.address_of(action.name)}?{self.noun}={row.pk}"

    def address_of(self, view: str, *arguments: Any) -> str:
        """Return the address of one of the pages."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{view}"
        return reverse(name, args=arguments)

    def confirm(
        self, request: HttpRequest, action: Action, queryset: models.QuerySet[Any]
    ) -> HttpResponse:
        """Ask about the rows that were chosen on the list."""
        rows = list(queryset[: MAX_ROWS + 1])
        if len(rows) > MAX_ROWS:
            return self._ask_in_bulk(request, action, ReasonForm(), until=clock.now())
        if not rows:
            raise Http404
        return self._ask(request, action, rows, ReasonForm())

    def _page(self, action: Action) -> URLPattern:
        def page(request: HttpRequest) -> HttpResponse:
            return self._answer(request, action)

        name = f"{self.opts.app_label}_{self.opts.model_name}_{action.name}"
        return path(f"{action.name}/", self.admin_site.admin_view(page), name=name)

    def _ask_in_bulk(
        self,
        request: HttpRequest,
        action: Action,
        form: forms.Form,
        *,
        until: datetime.datetime,
    ) -> HttpResponse:
        """Ask about all that match the list's filters, of those made by `until`."""
        count = self._matching(request, until)[: MAX_IN_BULK + 1].count()
        if not 0 < count <= MAX_IN_BULK:
            return self._refuse_bulk(request, count)
        filters = request.GET.copy()
        filters.pop("p", None)
        query = filters.urlencode()
        question = {
            "title": f"{action.verb} {count:,} {self.noun}s?",
            "question": f"{action.question} {IN_BULK}",
            "verb": action.verb,
            "address": f"{self.address_of(action.name)}?{query}",
            "back": f"{self.address_of('changelist')}?{query}",
            "hidden": [("until", until.isoformat())],
            "form": form,
        }
        return self._show(request, question)

    def _begin_in_bulk(self, request: HttpRequest, action: Action) -> HttpResponse:
        """Have the workers do it with all that match. Raises Http404."""
        until = moment_in(request.POST["until"])
        form = ReasonForm(request.POST)
        if not form.is_valid():
            return self._ask_in_bulk(request, action, form, until=until)
        found = self._matching(request, until).values_list("pk", flat=True)[: MAX_IN_BULK + 1]
        ids = list(found)
        if not 0 < len(ids) <= MAX_IN_BULK:
            return self._refuse_bulk(request, len(ids))
        operation = bulk.begin(
            action=action.name,
            subject_ids=ids,
            actor=request.user,
            reason=form.cleaned_data["reason"],
            now=clock.now(),
        )
        page = reverse("admin:tasks_app_bulkoperation_change", args=[operation.pk])
        return HttpResponseRedirect(page)

    def _refuse_bulk(self, request: HttpRequest, count: int) -> HttpResponse:
        most = f"Choose at most {MAX_IN_BULK:,} {self.noun}s at a time."
        self._warn(request, most if count else f"No {self.noun} matches any more.")
        return HttpResponseRedirect(self.address_of("changelist"))

    def _matching(self, request: HttpRequest, until: datetime.datetime) -> models.QuerySet[Any]:
        """Return the rows that the list's filters leave. Raises ParameterRefused."""
        found = self.get_changelist_instance(request).get_queryset(request)
        return found.filter(created_at__lte=until)

    def _ask(
        self, request: HttpRequest, action: Action, rows: Sequence[Any], form: forms.Form
    ) -> HttpResponse:
        alone = len(rows) == 1
        back = self.page_after(rows[0], None) if alone else self.address_of("changelist")
        question = {
            "title": f"{action.verb} {len(rows)} {self.noun}{'' if alone else 's'}?",
            "question": action.question,
            "verb": action.verb,
            "address": self.address_of(action.name),
            "back": back,
            "columns": self.columns,
            "rows": [self.row_cells(each) for each in rows],
            "hidden": [(self.noun, each.pk) for each in rows],
            "form": form,
        }
        return self._show(request, question)

    def _show(self, request: HttpRequest, question: dict[str, Any]) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, **question}
        return TemplateResponse(request, "admin/tasks_app/confirm.html", context)

    def _answer(self, request: HttpRequest, action: Action) -> HttpResponse:
        """Ask, or where the answer has come do it. Raises Http404, PermissionDenied."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        posted = request.method == "POST"
        if posted and "until" in request.POST:
            return self._begin_in_bulk(request, action)
        ids = ids_in((request.POST if posted else request.GET).getlist(self.noun))
        if len(ids) > MAX_ROWS:
            self._warn(request, f"Choose at most {MAX_ROWS} {self.noun}s at a time.")
            return HttpResponseRedirect(self.address_of("changelist"))
        chosen: models.QuerySet[Any] = self.get_queryset(request).filter(pk__in=ids)
        rows = list(chosen.select_related(*self.columns_related).order_by("-created_at"))
        if not rows:
            raise Http404
        form = ReasonForm(request.POST if posted else None)
        if not form.is_valid():
            return self._ask(request, action, rows, form)
        new = self._perform(request, action, rows, form.cleaned_data["reason"])
        if len(ids) > 1:
            return HttpResponseRedirect(self.address_of("changelist"))
        return HttpResponseRedirect(self.page_after(rows[0], new))

    def _perform(
        self, request: HttpRequest, action: Action, rows: Sequence[Any], reason: str
    ) -> str | None:
        """Do it row by row and tell what came of it; return the new task, if one was made."""
        left: Counter[str] = Counter()
        new: str | None = None
        for row in rows:
            try:
                made = staff.perform(
                    action=action.name,
                    subject_id=row.pk,
                    actor=request.user,
                    reason=reason,
                    now=clock.now(),
                )
                new = made.get("new_task")
            except staff.ActionRejected as refused:
                left[str(refused)] += 1
            except staff.MISSING:
                left[bulk.GONE] += 1
        if done := len(rows) - left.total():
            self.message_user(request, f"{action.done.capitalize()}: {done}.", messages.SUCCESS)
        for why, count in left.items():
            self._warn(request, f"Not {action.done}: {count}. {why}")
        return new

    def _warn(self, request: HttpRequest, sentence: str) -> None:
        self.message_user(request, sentence, messages.WARNING)
