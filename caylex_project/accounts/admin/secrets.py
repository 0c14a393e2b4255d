"""The admin of tokens and keys. One is shown once, on the page that answers its making."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from caylex_project.accounts.admin.row_actions import ActionResult, RowAction, RowActionsAdmin
from caylex_project.accounts.audit import record
from caylex_project.accounts.keys import give_secret
from caylex_project.accounts.models import NavigatorKey, PlatformToken
from caylex_project.accounts.staff_scope import visible_projects
from caylex_project.db.clock import clock

if TYPE_CHECKING:
    BaseForm = ModelForm[Model]
else:
    BaseForm = ModelForm


class SecretForm(BaseForm):
    """A new token or key."""

    def clean(self) -> dict[str, Any] | None:
        """Refuse an expiry in the past: the secret would never work."""
        cleaned = super().clean()
        expires_at = self.cleaned_data.get("expires_at")
        if expires_at and expires_at <= clock.now():
            raise ValidationError({"expires_at": "This moment has passed."})
        return cleaned


def _revoke(row: Any, answers: Mapping[str, Any]) -> ActionResult:
    row.revoke(clock.now())
    return ActionResult(sentence=f"{row} does not work any more.")


REVOKE = RowAction(
    name="revoke",
    verb="Revoke",
    question="It stops working at once, for good.",
    applies=lambda row: row.revoked_at is None,
    perform=_revoke,
    alarming=True,
)


class SecretAdmin(RowActionsAdmin):
    """Makes a secret and shows it once; a secret that exists can only be revoked."""

    form = SecretForm
    actions = ("revoke",)
    row_actions = (REVOKE,)
    made: ClassVar[tuple[str, ...]] = ()  # the fields that the form asks for

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever has the permission to add one."""
        return self.permitted(request, "add")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Whoever has the permission to change one."""
        return self.permitted(request, "change")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """The form's fields for a new one; never the digest."""
        return self.made if obj is None else (*self.made, "id", "created_at", "revoked_at")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """As Django's, with a name for each of the two inputs of a moment."""
        field: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "expires_at":
            for widget, part in zip(field.widget.widgets, ("date", "time"), strict=True):
                widget.attrs["aria-label"] = f"Expires at: {part}"
        return field

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Give the new row its secret; the text lives until this request is answered."""
        obj.shown_once = give_secret(obj)
        obj.save(force_insert=True)
        self._record(request, obj, "make")

    def audit_target(self, row: Any) -> tuple[Any, Any]:
        """The secret, and the project of a navigator's key."""
        return row, row.navigator.project_id if isinstance(row, NavigatorKey) else None

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the secret in the answer itself.

        After a redirect it would have to be kept in a cookie or in the session, in clear.
        Django marks every page of the admin `no-store`.
        """
        context = {
            **self.admin_site.each_context(request),
            "title": f"New {self.opts.verbose_name}",
            "opts": self.opts,
            "secret": obj.shown_once,
        }
        return TemplateResponse(request, "admin/accounts/shown_once.html", context)

    @admin.action(description="Revoke: stop them from working, for good", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Revoke the chosen ones; the ones revoked before stay as they are."""
        chosen = list(queryset.filter(revoked_at=None))
        with transaction.atomic():
            for row in chosen:
                row.revoke(clock.now())
                self.log_change(request, row, "Revoked.")
                self._record(request, row, "revoke")
        self.message_user(request, f"Revoked: {len(chosen)}.", messages.SUCCESS)

    def _record(self, request: HttpRequest, row: Any, action: str) -> None:
        named, project = self.audit_target(row)
        record(actor=request.user, action=action, on=named, project_id=project, now=clock.now())


@admin.register(PlatformToken)
class PlatformTokenAdmin(SecretAdmin):
    """Tokens of backends. They open a whole tenant: staff of single projects make none."""

    list_display = ("name", "tenant", "created_at", "expires_at", "revoked_at")
    list_select_related = ("tenant",)
    search_fields = ("name", "tenant__name")
    made = ("tenant", "name", "expires_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever may add one and is not limited to projects."""
        return super().has_add_permission(request) and visible_projects(request.user) is None


@admin.register(NavigatorKey)
class NavigatorKeyAdmin(SecretAdmin):
    """Keys of navigators."""

    project_paths = ("navigator__project",)
    list_display = ("__str__", "navigator", "created_at", "expires_at", "revoked_at")
    list_select_related = ("navigator",)
    search_fields = ("navigator__name",)
    made = ("navigator", "expires_at")
