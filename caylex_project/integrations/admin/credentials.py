"""The admin of credentials. A value can be put in, and is never shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters

from caylex_project.accounts.admin.row_actions import RowActionsAdmin
from caylex_project.accounts.audit import record
from caylex_project.accounts.models import AuditEntry
from caylex_project.db.clock import clock
from caylex_project.integrations.credentials import (
    CredentialRefused,
    check_credential,
    store_credential,
    value_of,
)
from caylex_project.integrations.models import Credential

_SHOWN = ("id", "instance", "end_user", "opens", "created_at", "updated_at", "set_by")

if TYPE_CHECKING:
    BaseForm = forms.ModelForm[Model]
else:
    BaseForm = forms.ModelForm


class CredentialForm(BaseForm):
    """A new credential, or a new value of one that exists."""

    value = forms.CharField(
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        strip=False,
        help_text="Sealed when saved, and never shown again.",
    )

    def clean(self) -> dict[str, Any] | None:
        """Check owner and value as `store_credential` does."""
        cleaned = super().clean()
        given = self.cleaned_data
        row: Any = self.instance
        if row._state.adding:
            instance, end_user = given.get("instance"), given.get("end_user")
        else:
            instance, end_user = row.instance, row.end_user
        if instance is not None and "value" in given:
            try:
                check_credential(instance=instance, end_user=end_user, value=given["value"])
            except CredentialRefused as error:
                raise forms.ValidationError(str(error)) from None
        return cleaned


@admin.register(Credential)
class CredentialAdmin(RowActionsAdmin):
    """Credentials: whose they are and whether they open."""

    project_paths = ("instance__project",)
    form = CredentialForm
    list_display = ("__str__", "instance", "end_user", "opens", "updated_at")
    list_select_related = ("instance__server", "instance__project", "end_user")
    search_fields = ("end_user__email", "instance__server__name")
    raw_id_fields = ("instance", "end_user")

    @admin.display(boolean=True, description="Opens")
    def opens(self, row: Credential) -> bool:
        """Whether the sealed value opens with one of our keys."""
        return value_of(row) is not None

    @admin.display(description="Set by")
    def set_by(self, row: Credential) -> str:
        """Who of the staff pasted the value; a dash where a file or the user did."""
        pasted = AuditEntry.objects.filter(
            object_type=row._meta.label_lower, object_id=str(row.pk), at__gte=row.updated_at
        )
        return pasted.order_by("at").values_list("actor", flat=True).first() or "–"

    def audit_target(self, row: Credential) -> tuple[Any, Any]:
        """The credential, and its server's project."""
        return row, row.instance.project_id

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever has the permission to add one."""
        return self.permitted(request, "add")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever has the permission to change one: only the value can be."""
        return self.permitted(request, "change")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Never the sealed value; an input for a new one where it may be changed."""
        if obj is None:
            return ("instance", "end_user", "value")
        return (*_SHOWN, "value") if self.has_change_permission(request, obj) else _SHOWN

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A credential that exists stays with its owner."""
        return () if obj is None else _SHOWN

    @method_decorator(sensitive_post_parameters("value"))
    def changeform_view(self, *args: Any, **kwargs: Any) -> HttpResponse:
        """As Django's, with the value kept out of error reports."""
        return super().changeform_view(*args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Seal and keep the value."""
        row = store_credential(
            instance=obj.instance, end_user=obj.end_user, value=form.cleaned_data["value"]
        )
        obj.pk = row.pk
        record(
            actor=request.user,
            action="paste",
            on=row,
            project_id=obj.instance.project_id,
            now=clock.now(),
        )
