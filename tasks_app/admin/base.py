"""The bases of rows to look at: on another row's page, and on a page of ours that is live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from caylex_project.accounts.admin.base import ReadOnlyAdmin

if TYPE_CHECKING:
    BaseInline = admin.TabularInline[models.Model, models.Model]
else:
    BaseInline = admin.TabularInline


class ReadOnlyInline(BaseInline):
    """Rows below another row, each with a link to its page."""

    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False


class LivePageAdmin(ReadOnlyAdmin):
    """Rows whose pages are ours and keep themselves true."""

    page_template: ClassVar[str] = ""

    def page_context(self, request: HttpRequest, object_id: str) -> dict[str, Any]:
        """Return what the page shows. Raises Http404, PermissionDenied."""
        raise NotImplementedError

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page of a row. Raises Http404, PermissionDenied."""
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            **self.page_context(request, object_id),
        }
        return TemplateResponse(request, self.page_template, context)
