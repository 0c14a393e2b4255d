"""What staff can do with one row: a page that asks, then a POST that does it and writes it down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from caylex_project.accounts.admin.base import ReadOnlyAdmin
from caylex_project.accounts.audit import record
from caylex_project.accounts.models import AuditEntry
from caylex_project.accounts.staff_scope import visible_projects
from caylex_project.db.clock import clock

MAX_ENTRIES = 20  # of the trail, on a row's page


class RowActionRejected(Exception):
    """The row was left as it is; `str()` says why."""


class RowForm(forms.Form):
    """What is asked about a row before something is done with it."""

    def __init__(self, data: Any = None, *, row: Any) -> None:
        super().__init__(data)
        self.row = row


class OptionalReasonForm(RowForm):
    """Why it is done."""

    reason = forms.CharField(
        max_length=500, required=False, help_text="Stands in the audit trail; you may leave it out."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionResult:
    """What came of it: a sentence for who asked, and for the trail what the row does not say."""

    sentence: str
    details: Mapping[str, Any] = field(default_factory=dict)
    warning: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RowAction:
    """Something that can be done with a row in the state in which it `applies`.

    `perform` takes the row and the form's answers, inside a transaction that also holds the entry
    of the trail. `prepare` talks to somebody before it begins; what it returns is the answer
    `found`. Both raise RowActionRejected. What concerns more than one project is `for_all`, and not
    for staff who are limited to some.
    """

    name: str
    verb: str
    question: str
    perform: Callable[[Any, Mapping[str, Any]], ActionResult]
    prepare: Callable[[Any, Mapping[str, Any]], Any] | None = None
    applies: Callable[[Any], bool] = lambda row: True
    form: type[RowForm] = OptionalReasonForm
    permission: str = "change"
    alarming: bool = False
    for_all: bool = False
    template: str = "admin/accounts/ask.html"


class RowActionsAdmin(ReadOnlyAdmin):
    """Rows to read, with `row_actions` as buttons on the page of each."""

    row_actions: ClassVar[Sequence[RowAction]] = ()

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """The row's page, with what can be done with it."""
        if (row := kwargs.get("obj")) is not None:
            context |= {
                **self.extra_context_for(row),
                "row_actions": self.offered(request, row),
                "audit": _trail(request, self.audit_target(row)[0]),
            }
        return super().render_change_form(request, context, *args, **kwargs)

    def offered(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Return what the user can do with the row now."""
        return [
            {"verb": each.verb, "alarming": each.alarming, "address": self._address(each.name, row)}
            for each in self.row_actions
            if self._may(request, each) and each.applies(row)
        ]

    def get_urls(self) -> list[URLPattern]:
        """Add a page for each action."""
        return [*(self._page(each) for each in self.row_actions), *super().get_urls()]

    def extra_context_for(self, row: Any) -> dict[str, Any]:
        """Return what the template of the row's page shows beyond its fields."""
        return {}

    def audit_target(self, row: Any) -> tuple[Any, Any]:
        """Return the row that the trail names, and the id of its project or None."""
        return row, getattr(row, "project_id", None)

    def _may(self, request: HttpRequest, action: RowAction) -> bool:
        limited = action.for_all and visible_projects(request.user) is not None
        return self.permitted(request, action.permission) and not limited

    def _page(self, action: RowAction) -> URLPattern:
        def page(request: HttpRequest, pk: Any) -> HttpResponse:
            return self._answer(request, action, pk)

        name = f"{self.opts.app_label}_{self.opts.model_name}_{action.name}"
        return path(f"<path:pk>/{action.name}/", self.admin_site.admin_view(page), name=name)

    def _address(self, view: str, row: Any) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{view}"
        return reverse(name, args=[row.pk])

    def _answer(self, request: HttpRequest, action: RowAction, pk: Any) -> HttpResponse:
        """Ask, or where the answer has come do it. Raises Http404, PermissionDenied."""
        if not self._may(request, action):
            raise PermissionDenied
        row = self.get_object(request, pk)
        if row is None:
            raise Http404
        page = self._address("change", row)
        if not action.applies(row):
            self.message_user(request, "It is so already.", messages.WARNING)
            return HttpResponseRedirect(page)
        form = action.form(request.POST if request.method == "POST" else None, row=row)
        if request.method != "POST" or not form.is_valid():
            return self._ask(request, action, row, form)
        try:
            outcome = self._perform(request, action, row, form.cleaned_data)
        except RowActionRejected as refused:
            form.add_error(None, str(refused))
            return self._ask(request, action, row, form)
        level = messages.WARNING if outcome.warning else messages.SUCCESS
        self.message_user(request, outcome.sentence, level)
        return HttpResponseRedirect(page)

    def _ask(
        self, request: HttpRequest, action: RowAction, row: Any, form: forms.Form
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"{action.verb}: {row}",
            "opts": self.opts,
            "row": row,
            "action": action,
            "form": form,
        }
        return TemplateResponse(request, action.template, context)

    def _perform(
        self, request: HttpRequest, action: RowAction, row: Any, answers: Mapping[str, Any]
    ) -> ActionResult:
        """Do it and write it down, in one transaction."""
        if action.prepare is not None:
            answers = {**answers, "found": action.prepare(row, answers)}
        with transaction.atomic():
            outcome = action.perform(row, answers)
            named, project_id = self.audit_target(row)
            record(
                actor=request.user,
                action=action.name,
                on=named,
                project_id=project_id,
                reason=answers.get("reason", ""),
                details=outcome.details,
                now=clock.now(),
            )
        return outcome


def _trail(request: HttpRequest, row: Any) -> QuerySet[AuditEntry]:
    """Return the newest entries about the row, but for those of projects that are hidden."""
    entries = AuditEntry.objects.filter(object_type=row._meta.label_lower, object_id=str(row.pk))
    visible = visible_projects(request.user)
    if visible is not None:
        entries = entries.filter(Q(project_id=None) | Q(project_id__in=visible))
    return entries.order_by("-at", "-id")[:MAX_ENTRIES]
