"""The admin of staff: users, groups, and the projects that a user is limited to.

None of it is for staff who are limited themselves, whatever else they may do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db import models
from django.http import HttpRequest

from caylex_project.accounts.admin.base import ScopedAdmin
from caylex_project.accounts.audit import record
from caylex_project.accounts.models import StaffScope
from caylex_project.accounts.staff_scope import visible_projects
from caylex_project.db.clock import clock

if TYPE_CHECKING:
    BaseForm = forms.ModelForm[models.Model]
else:
    BaseForm = forms.ModelForm

admin.site.unregister([User, Group])


class UnlimitedAdmin(ScopedAdmin):
    """Rows of no project: limited staff neither see nor add any."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever may add one and is not limited to projects."""
        return super().has_add_permission(request) and visible_projects(request.user) is None


@admin.register(User)
class StaffUserAdmin(UnlimitedAdmin, UserAdmin):  # type: ignore[type-arg]
    """Users."""


@admin.register(Group)
class StaffGroupAdmin(UnlimitedAdmin, GroupAdmin):
    """Groups."""


class ScopeForm(BaseForm):
    """A staff user and the projects that are left to him."""

    class Meta:
        model = StaffScope
        fields = ("user", "projects")
        widgets = {"projects": forms.CheckboxSelectMultiple}
        help_texts = {
            "projects": "Nothing of other projects is shown to the user: not in lists, pages, "
            "forms or downloads."
        }


@admin.register(StaffScope)
class StaffScopeAdmin(UnlimitedAdmin):
    """Limits of staff users. Without one a user sees all projects; deleting it lifts the limit."""

    form = ScopeForm
    fields = ("user", "projects")
    list_display = ("user", "count")
    list_select_related = ("user",)
    search_fields = ("user__username",)

    @admin.display(description="Projects")
    def count(self, scope: StaffScope) -> int:
        """To how many."""
        return scope.projects.count()

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """A limit stays with its user."""
        return () if obj is None else ("user",)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Keep the projects, and write down which they are."""
        super().save_related(request, form, formsets, change)
        names = [str(each) for each in form.instance.projects.select_related("tenant")]
        self._record(request, form.instance, "limit", {"projects": sorted(names)})

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Lift the limit."""
        self._record(request, obj, "lift limit")
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Lift the limits."""
        for each in queryset:
            self.delete_model(request, each)

    def _record(
        self, request: HttpRequest, scope: StaffScope, action: str, details: Any = None
    ) -> None:
        record(actor=request.user, action=action, on=scope.user, details=details, now=clock.now())
