"""The base of every admin page here: rows of projects that the user sees can be read, no more."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.admin.utils import lookup_spawns_duplicates
from django.contrib.admin.widgets import ForeignKeyRawIdWidget
from django.contrib.auth import get_permission_codename
from django.core.exceptions import ValidationError
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.text import capfirst

from caylex_project.accounts.admin.checked import CheckedAdmin
from caylex_project.accounts.staff_scope import visible_projects


class ScopedRawIdWidget(ForeignKeyRawIdWidget):
    """The input for a row's id, labelled with the row's name where the user sees that row."""

    def __init__(self, *args: Any, seen: models.QuerySet[Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seen = seen

    def label_and_url_for_value(self, value: Any) -> tuple[str, str]:
        """Return the row's name and address, or two empty texts."""
        try:
            visible = self._seen.filter(pk=value).exists()
        except (ValueError, ValidationError):
            visible = False
        return super().label_and_url_for_value(value) if visible else ("", "")


class ScopedAdmin(CheckedAdmin):
    """Staff who are limited to projects see, choose and touch rows of these alone.

    `project_paths` are the lookups from a row to its project. Without one the rows are of no
    project, and not for limited staff. What is hidden answers 404.
    """

    project_paths: ClassVar[tuple[str, ...]] = ()

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """Rows of the user's projects."""
        rows = super().get_queryset(request)
        visible = visible_projects(request.user)
        if visible is None:
            return rows
        if not self.project_paths:
            return rows.none()
        wanted = models.Q()
        for each in self.project_paths:
            wanted |= models.Q(**{f"{each}__in": visible})
        if not any(lookup_spawns_duplicates(self.opts, each) for each in self.project_paths):
            return rows.filter(wanted)
        model: Any = self.model  # by key, so that none comes twice
        return rows.filter(pk__in=model._default_manager.filter(wanted).values("pk"))

    def get_field_queryset(
        self, db: str | None, db_field: Any, request: HttpRequest
    ) -> models.QuerySet[Any] | None:
        """What a form offers and takes: rows that the user sees in their own list."""
        rows = super().get_field_queryset(db, db_field, request)
        owner: Any = self.admin_site._registry.get(db_field.remote_field.model)
        if not isinstance(owner, ScopedAdmin):
            return rows
        seen = owner.get_queryset(request)
        return seen if rows is None else seen.order_by(*rows.query.order_by)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """As Django's, but the input for an id names no row that the user does not see."""
        if db_field.name in self.raw_id_fields and "widget" not in kwargs:
            owner: Any = self.admin_site._registry.get(db_field.remote_field.model)
            looks = owner is not None and owner.has_view_or_change_permission(request)
            rows = owner.get_queryset(request) if looks else db_field.related_model.objects.none()
            kwargs["widget"] = ScopedRawIdWidget(db_field.remote_field, self.admin_site, seen=rows)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, by the name of what it lists."""
        title = capfirst(self.opts.verbose_name_plural)
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def _get_obj_does_not_exist_redirect(
        self, request: HttpRequest, opts: Any, object_id: str
    ) -> HttpResponse:
        raise Http404

    def permitted(self, request: HttpRequest, what: str) -> bool:
        """Whether the user has Django's permission to add, change, view or delete."""
        codename = get_permission_codename(what, self.opts)
        return bool(request.user.has_perm(f"{self.opts.app_label}.{codename}"))


class ReadOnlyAdmin(ScopedAdmin):
    """Nobody adds, changes or deletes; each class that opens one of these says so itself."""

    ordering: ClassVar[tuple[str, ...]] = ("-pk",)
    show_full_result_count = False
    list_per_page = 50
    change_form_template = "admin/accounts/row.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """No."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False
