"""The admin of webhooks: who is told, what became of it, and what messages are signed with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.html import format_html

from caylex_project.accounts.admin.base import ReadOnlyAdmin
from caylex_project.accounts.admin.disabling import Toggle, disable_and_enable
from caylex_project.accounts.admin.row_actions import RowActionsAdmin
from caylex_project.accounts.audit import record
from caylex_project.db.clock import clock
from tasks_app.admin.action_forms import RESEND
from tasks_app.admin.bulk_actions import BulkActionAdmin
from tasks_app.admin.links import task_link
from tasks_app.models import WebhookDelivery, WebhookEndpoint, WebhookSecret
from tasks_app.operations.webhooks import disable_endpoint, enable_endpoint
from tasks_app.states import DeliveryState
from tasks_app.webhooks.secrets import rotate_secret

if TYPE_CHECKING:
    BaseForm = forms.ModelForm[Model]
else:
    BaseForm = forms.ModelForm

_COLOURS = {
    DeliveryState.WAITING: "PENDING",
    DeliveryState.DELIVERED: "COMPLETED",
    DeliveryState.FAILED: "FAILED",
}


def _disable(row: WebhookEndpoint, reason: str) -> bool:
    why = reason or "Disabled by staff."
    return disable_endpoint(endpoint_id=row.pk, reason=why, now=clock.now())


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(RowActionsAdmin):
    """Addresses of projects; their queries are not shown: one may hold a secret."""

    project_paths = ("project",)
    list_display = ("__str__", "project", "wanted", "disabled_at", "disabled_reason")
    list_select_related = ("project__tenant",)
    fields = (
        *("id", "project", "address", "wanted", "description"),
        *("disabled_at", "disabled_reason", "created_at"),
    )
    readonly_fields = ("address", "wanted")
    row_actions = disable_and_enable(
        disable=Toggle(
            question="It is told of nothing any more. What waits to be sent there is given up when "
            "its turn comes.",
            perform=_disable,
            said="It is told of nothing any more.",
        ),
        enable=Toggle(
            question="It is told of the tasks that end from now on.",
            perform=lambda row, reason: enable_endpoint(endpoint_id=row.pk),
            said="It is told of tasks again, from now on.",
        ),
    )

    @admin.display(description="Address")
    def address(self, row: WebhookEndpoint) -> str:
        """Where it is, without a query."""
        return str(row)

    @admin.display(description="Events")
    def wanted(self, row: WebhookEndpoint) -> str:
        """Of what it is told."""
        return ", ".join(row.events) or "all"


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(BulkActionAdmin, ReadOnlyAdmin):
    """Messages, and what became of them. What they say is on the task's page."""

    project_paths = ("task__project",)
    list_display = (
        *("event", "standing", "task_link", "address", "attempts", "answer", "next_try"),
    )
    list_display_links = ("event",)
    list_filter = ("state", "event")
    ordering = ("-created_at", "-id")
    actions = ("resend_messages",)
    operations = (RESEND,)
    noun = "message"
    columns = ("Task", "Event", "To", "State")
    fields = (
        *("id", "task_link", "event", "address", "standing", "attempts", "answer"),
        *("next_try", "created_at", "delivered_at"),
    )
    readonly_fields = ("task_link", "address", "standing", "answer", "next_try")

    def get_list_display(self, request: HttpRequest) -> Any:
        """The columns; a link to send it again for whom may."""
        more = ("resend",) if self.has_operate_permission(request) else ()
        return (*self.list_display, *more)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list; the room is for its columns."""
        context = {**(extra_context or {}), "is_nav_sidebar_enabled": False}
        return super().changelist_view(request, context)

    @admin.action(description="Resend selected messages", permissions=["operate"])
    def resend_messages(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Ask whether to send the chosen messages again."""
        return self.confirm(request, RESEND, queryset)

    def row_cells(self, row: WebhookDelivery) -> tuple[Any, ...]:
        """The message in the columns of the page that asks."""
        return row.task_id, row.event, row.shown_url, row.state

    def page_after(self, row: WebhookDelivery, new: str | None) -> str:
        """The page of the task that it tells of."""
        return reverse("admin:tasks_app_agenttask_change", args=[row.task_id])

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """The message's page, with a button to send it again for whom may."""
        row = kwargs["obj"]
        if self.has_operate_permission(request) and _can_be_resent(row):
            page = self.confirmation_url(RESEND, row)
            context["row_actions"] = [{"verb": RESEND.verb, "address": page}]
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="To")
    def address(self, row: WebhookDelivery) -> str:
        """Where it goes, without a query."""
        return row.shown_url

    @admin.display(description="Task")
    def task_link(self, row: WebhookDelivery) -> str:
        """The task that it tells of."""
        return task_link(row.task_id)

    @admin.display(description="State", ordering="state")
    def standing(self, row: WebhookDelivery) -> str:
        """Its state in a word and a colour."""
        state = DeliveryState(row.state)
        return format_html('<span class="state {}">{}</span>', _COLOURS[state], state.value)

    @admin.display(description="Last answer")
    def answer(self, row: WebhookDelivery) -> str:
        """The status of the last try, or what was in its way."""
        return row.last_error or str(row.last_status or "–")

    @admin.display(description="Next try")
    def next_try(self, row: WebhookDelivery) -> str:
        """When it is sent, where it waits."""
        return "–" if _can_be_resent(row) else date_format(row.next_attempt_at, "DATETIME_FORMAT")

    @admin.display(description="Again")
    def resend(self, row: WebhookDelivery) -> str:
        """A link to the page that asks."""
        if not _can_be_resent(row):
            return ""
        words = '<a href="{}">Resend<span class="visually-hidden"> {}</span></a>'
        return format_html(words, self.confirmation_url(RESEND, row), row)


def _can_be_resent(row: Any) -> bool:
    return bool(row.state != DeliveryState.WAITING)


class WebhookSecretForm(BaseForm):
    """The project whose messages are signed with a new secret."""

    class Meta:
        model = WebhookSecret
        fields = ("project",)
        help_texts = {"project": "Its older secrets sign along for 24 hours more."}


@admin.register(WebhookSecret)
class WebhookSecretAdmin(RowActionsAdmin):
    """Signing secrets: a new one is shown once, none is ever shown again."""

    project_paths = ("project",)
    form = WebhookSecretForm
    list_display = ("project", "created_at", "expires_at")
    list_select_related = ("project__tenant",)
    ordering = ("-created_at",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever has the permission to add one."""
        return self.permitted(request, "add")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """The project for a new one; never the value."""
        return ("project",) if obj is None else ("id", "project", "created_at", "expires_at")

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Make it; the text lives until this request is answered."""
        now = clock.now()
        obj.shown_once = rotate_secret(project=obj.project, now=now)
        record(
            actor=request.user,
            action="rotate webhook secret",
            on=obj.project,
            project_id=obj.project_id,
            now=now,
        )

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Nothing: the trail has it, and the row is another one than the form's."""

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the secret in the answer itself, as for a token."""
        context = {
            **self.admin_site.each_context(request),
            "title": "New webhook secret",
            "opts": self.opts,
            "secret": obj.shown_once,
        }
        return TemplateResponse(request, "admin/accounts/shown_once.html", context)
