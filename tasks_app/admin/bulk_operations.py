"""What staff asked to be done with many rows, and how far it has come."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from caylex_project.accounts.staff_scope import visible_projects
from caylex_project.db.clock import clock
from tasks_app.admin.base import LivePageAdmin
from tasks_app.models import BulkOperation, Worker
from tasks_app.operations import staff
from tasks_app.states import WorkerState


@admin.register(BulkOperation)
class BulkOperationAdmin(LivePageAdmin):
    """Bulk operations: one's own for staff of single projects, all for others."""

    list_display = ("id", "created_at", "actor", "action", "reason", "position", "completed_at")
    ordering = ("-created_at",)
    page_template = "admin/tasks_app/bulkoperation/page.html"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may begin one."""
        return staff.may_operate(request.user)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Whoever may begin one."""
        return staff.may_operate(request.user)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Those that the user may see."""
        rows = BulkOperation.objects.order_by(*self.ordering).defer("subject_ids")
        if visible_projects(request.user) is None:
            return rows
        return rows.filter(actor=request.user.get_username())

    def get_urls(self) -> list[URLPattern]:
        """Add what the page fetches."""
        live = self.admin_site.admin_view(self.live_view)
        name = "tasks_app_bulkoperation_live"
        return [path("<uuid:pk>/live/", live, name=name), *super().get_urls()]

    def page_context(self, request: HttpRequest, object_id: str) -> dict[str, Any]:
        """How far it has come. Raises Http404, PermissionDenied."""
        now = self._now(request, object_id)
        row = "webhookdelivery" if now["operation"].noun == "messages" else "agenttask"
        return {
            **now,
            "title": "Progress",
            "live": reverse("admin:tasks_app_bulkoperation_live", args=[object_id]),
            "back": reverse(f"admin:tasks_app_{row}_changelist"),
        }

    def live_view(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        """The part of the page that changes."""
        context = self._now(request, str(pk))
        return TemplateResponse(request, "admin/tasks_app/bulkoperation/now.html", context)

    def _now(self, request: HttpRequest, object_id: str) -> dict[str, Any]:
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            found = self.get_queryset(request).filter(pk=uuid.UUID(object_id)).first()
        except ValueError:
            found = None
        if found is None:
            raise Http404
        living = Worker.objects.filter(state=WorkerState.ALIVE, lease_until__gt=clock.now())
        total = BulkOperation.objects.values_list("subject_ids", flat=True).get(pk=found.pk)
        return {
            "operation": found,
            "total": len(total),
            "orphaned": found.completed_at is None and not living.exists(),
        }
