"""Who asks, and for whom: tenants, their projects and keys, and the end users."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F
from django.db.models.functions import Lower

slug_like = RegexValidator(
    r"^[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?$",
    "Use 1 to 63 lower-case letters, digits, '-' and '_', starting and ending with one of the "
    "first two.",
)


class Tenant(models.Model):
    """A customer organisation. Nothing of one tenant is ever visible to another."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=63, unique=True, validators=[slug_like])
    limits: models.JSONField[Any, Any] = models.JSONField(
        default=dict, blank=True, help_text="Caps for all tasks of this tenant together."
    )
    paused = models.BooleanField(default=False, help_text="Nothing of it is claimed.")
    disabled_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class Secret(models.Model):
    """What a token and a key share: a lookup id, a digest, and when it stops working.

    The secret itself is shown once, when it is made; see `keys.py`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True

    def usable(self, now: datetime.datetime) -> bool:
        """True unless it is revoked or `now` has reached its expiry."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def revoke(self, now: datetime.datetime) -> None:
        """Stop it from working, for good; a second time changes nothing."""
        if self.revoked_at is None:
            self.revoked_at = now
            self.save(update_fields=["revoked_at"])

    def expire_by(self, moment: datetime.datetime) -> None:
        """Let it work until `moment` at the longest."""
        if self.expires_at is None or self.expires_at > moment:
            self.expires_at = moment
            self.save(update_fields=["expires_at"])


class PlatformToken(Secret):
    """A tenant-wide bearer token of a backend."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="platform_tokens")
    name = models.CharField(max_length=100)

    def __str__(self) -> str:
        return f"{self.name} ({self.tenant.name})"


class Project(models.Model):
    """One product of a tenant: its tools, skills, users and instructions."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="projects")
    name = models.CharField(max_length=63, validators=[slug_like])
    instructions = models.TextField(blank=True, help_text="Said to the agent in every run.")
    timezone = models.CharField(max_length=64, default="UTC", help_text="An IANA name.")
    limits: models.JSONField[Any, Any] = models.JSONField(
        default=dict, blank=True, help_text="Caps for the tasks of this project."
    )
    prove_address = models.BooleanField(
        default=False,
        db_default=False,
        help_text="A visitor of an auth link has to prove the address by a code that is mailed, "
        "even where the link is bound to one address.",
    )
    paused = models.BooleanField(default=False, help_text="Nothing of it is claimed.")
    disabled_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="project_name_once_per_tenant")
        ]

    def __str__(self) -> str:
        return f"{self.tenant.name}/{self.name}"


class Navigator(models.Model):
    """An agent of a project, with its own model, keys and tool permissions."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="navigators")
    name = models.CharField(max_length=63, validators=[slug_like])
    model = models.CharField(
        max_length=200, blank=True, help_text="The configured model; empty means the default."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"], name="navigator_name_once_per_project"
            )
        ]

    def __str__(self) -> str:
        return self.name


class NavigatorKey(Secret):
    """A navigator's API key, `ck_{id}.{secret}`; several may live side by side for rotation."""

    navigator = models.ForeignKey(Navigator, on_delete=models.CASCADE, related_name="keys")

    def __str__(self) -> str:
        return f"ck_{self.id.hex}"


class EndUser(models.Model):
    """A person within a project, known by e-mail (lower case), made on first use."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="end_users")
    email = models.EmailField(max_length=254)
    disabled_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "email"], name="end_user_once_per_project"),
            models.CheckConstraint(
                condition=models.Q(email=Lower("email")), name="end_user_email_is_lower_case"
            ),
        ]
        indexes = [
            models.Index(
                fields=["disabled_at"],
                name="end_user_disabled",
                condition=models.Q(disabled_at__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return self.email


class StaffScope(models.Model):
    """The projects that a staff user is limited to; without a row he sees them all."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="staff_scope"
    )
    projects: models.ManyToManyField[Project, Any] = models.ManyToManyField(
        Project, related_name="+"
    )

    def __str__(self) -> str:
        return f"projects of {self.user}"


class AuditEntry(models.Model):
    """What a staff user did, and why. Append-only: the database refuses changes, too.

    It names things by text and id, without foreign keys, so that it outlives them.
    """

    at = models.DateTimeField()
    actor = models.CharField(max_length=150, help_text="The staff user's name.")
    action = models.CharField(max_length=50)
    object_type = models.CharField(max_length=50)
    object_id = models.CharField(max_length=64)
    object_name = models.CharField(max_length=300)
    project_id = models.UUIDField(null=True, blank=True, help_text="Null where it is of none.")
    reason = models.CharField(max_length=500, blank=True)
    details: models.JSONField[Any, Any] = models.JSONField(default=dict, blank=True)

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(F("at").desc(), F("id").desc(), name="audit_newest"),
            models.Index(fields=["object_type", "object_id", "at"], name="audit_of_object"),
        ]

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} {self.object_name}"
