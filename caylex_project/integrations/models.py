"""Whom the agent may talk to, and as whom."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.db.models import Q

from agent_runtime.messages import Permission
from caylex_project.accounts.models import EndUser, Navigator, Project, Tenant, slug_like


class AuthKind(models.TextChoices):
    """How a credential is put on the wire."""

    NONE = "none"  # no credential
    BEARER = "bearer"  # Authorization: Bearer {value}
    HEADER = "header"  # {auth_name}: {auth_prefix}{value}
    QUERY = "query"  # ?{auth_name}={value}
    PATH = "path"  # {auth_name} in braces, once, in the URL


class AuthLevel(models.TextChoices):
    """Whose credential it is."""

    PROJECT = "project"  # one for everybody in the project
    USER = "user"  # each end user has his own


class Server(models.Model):
    """An MCP server of a tenant, and how it wants to be talked to."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="servers")
    name = models.CharField(max_length=63, validators=[slug_like])
    url = models.URLField(max_length=2000, help_text="Streamable HTTP; a template for kind path.")
    auth_kind = models.CharField(max_length=10, choices=AuthKind, default=AuthKind.NONE)
    auth_name = models.CharField(max_length=100, blank=True)
    auth_prefix = models.CharField(max_length=100, blank=True)
    repeatable_tools: models.JSONField[Any, Any] = models.JSONField(
        default=list,
        blank=True,
        help_text="Tools that may be called twice with no harm, where the server gives no hint.",
    )
    paused = models.BooleanField(default=False, help_text="It shows no tools to anybody.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="server_name_once_per_tenant"),
            models.CheckConstraint(
                condition=Q(auth_kind__in=AuthKind.values), name="server_auth_kind_is_known"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ServerInstance(models.Model):
    """A server connected to a project."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="instances")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="server_instances")
    auth_level = models.CharField(max_length=10, choices=AuthLevel, default=AuthLevel.PROJECT)
    paused = models.BooleanField(default=False, help_text="A paused server shows no tools.")
    tools: models.JSONField[Any, Any] = models.JSONField(
        default=list, editable=False, help_text="As it listed them when staff last asked."
    )
    tools_listed_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["server", "project"], name="server_once_per_project")
        ]

    def __str__(self) -> str:
        return f"{self.server.name} in {self.project.name}"


class ToolPermission(models.Model):
    """What one navigator may do with one tool. Without a row: `always_execute`."""

    navigator = models.ForeignKey(
        Navigator, on_delete=models.CASCADE, related_name="tool_permissions"
    )
    instance = models.ForeignKey(
        ServerInstance, on_delete=models.CASCADE, related_name="tool_permissions"
    )
    tool = models.CharField(max_length=200)
    permission = models.CharField(
        max_length=20, choices=[(each.value, each.value) for each in Permission]
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["navigator", "instance", "tool"], name="one_permission_per_tool"
            )
        ]

    def __str__(self) -> str:
        return f"{self.tool}: {self.permission}"


class Credential(models.Model):
    """A sealed secret for one server in one project: the project's, or one end user's.

    `sealed` is opened by `sealing.py` alone, bound to this row's id.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    instance = models.ForeignKey(
        ServerInstance, on_delete=models.CASCADE, related_name="credentials"
    )
    end_user = models.ForeignKey(
        EndUser, on_delete=models.CASCADE, related_name="credentials", null=True, blank=True
    )
    sealed = models.BinaryField(editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["instance", "end_user"],
                name="one_credential_per_user_and_server",
            ),
            models.UniqueConstraint(
                fields=["instance"],
                condition=Q(end_user__isnull=True),
                name="one_project_credential_per_server",
            ),
        ]

    def __str__(self) -> str:
        owner = self.end_user.email if self.end_user else "the project"
        return f"{self.instance.server.name} for {owner}"
