"""Sending a webhook's message once more: a page that asks, then the same operation as the API's."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils import timezone

from tasks_app.admin.actions import OperatedAdmin
from tasks_app.admin.questions import ReasonForm
from tasks_app.models import WebhookDelivery
from tasks_app.operations import staff

QUESTION = "The same message is sent again under its own id, with a day of tries before it."


class ResendingAdmin(OperatedAdmin):
    """Tasks whose webhooks' messages staff can send again."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page that asks and does it."""
        return [
            path(
                "resend/<uuid:delivery_id>/",
                self.admin_site.admin_view(self.resend_view),
                name="tasks_app_agenttask_resend",
            ),
            *super().get_urls(),
        ]

    def resend_view(self, request: HttpRequest, delivery_id: uuid.UUID) -> HttpResponse:
        """Ask, or where the answer has come do it. Raises Http404, PermissionDenied."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        mine = WebhookDelivery.objects.filter(task__in=self.get_queryset(request))
        delivery = mine.filter(pk=delivery_id).first()
        if delivery is None:
            raise Http404
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            return self._ask_to_resend(request, delivery, form)
        try:
            staff.resend(
                delivery_id=delivery_id,
                actor=request.user,
                reason=form.cleaned_data["reason"],
                now=timezone.now(),
            )
        except staff.NotDone as refused:
            self.message_user(request, f"Not sent again. {refused}", messages.WARNING)
        else:
            self.message_user(request, "It is being sent again.", messages.SUCCESS)
        return HttpResponseRedirect(self._address("change", delivery.task_id))

    def _ask_to_resend(
        self, request: HttpRequest, delivery: WebhookDelivery, form: ReasonForm
    ) -> HttpResponse:
        row = (delivery.task_id, delivery.event, delivery.shown_url, delivery.state)
        question = {
            "title": "Resend 1 message?",
            "question": QUESTION,
            "verb": "Resend",
            "address": self._address("resend", delivery.pk),
            "back": self._address("change", delivery.task_id),
            "columns": ("Task", "Event", "To", "State"),
            "rows": [row],
            "form": form,
        }
        return self.ask(request, question)
