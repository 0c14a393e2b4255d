"""Whom the agent may talk to, and as whom."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.db.models import Q

from agent_runtime.messages import Permission
from agent_runtime.oauth.clients import ClientKind
from caylex_project.accounts.models import EndUser, Navigator, Project, Tenant, slug_like


class AuthKind(models.TextChoices):
    """How a credential is put on the wire."""

    NONE = "none"  # no credential
    BEARER = "bearer"  # Authorization: Bearer {value}
    HEADER = "header"  # {auth_name}: {auth_prefix}{value}
    QUERY = "query"  # ?{auth_name}={value}
    PATH = "path"  # {auth_name} in braces, once, in the URL
    OAUTH2 = "oauth2"  # Authorization: Bearer {access token}, renewed by us


class AuthLevel(models.TextChoices):
    """Whose credential it is."""

    PROJECT = "project"  # one for everybody in the project
    USER = "user"  # each end user has their own


class Server(models.Model):
    """An MCP server of a tenant, and how it wants to be talked to."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="servers")
    name = models.CharField(max_length=63, validators=[slug_like])
    url = models.URLField(max_length=2000, help_text="Streamable HTTP; a template for kind path.")
    auth_kind = models.CharField(max_length=10, choices=AuthKind, default=AuthKind.NONE)
    auth_name = models.CharField(max_length=100, blank=True)
    auth_prefix = models.CharField(max_length=100, blank=True)
    oauth_issuer = models.CharField(
        max_length=500,
        blank=True,
        help_text="The exact issuer to expect, for a server whose metadata names another one.",
    )
    oauth_scopes: models.JSONField[Any, Any] = models.JSONField(
        default=list, blank=True, help_text="Scopes to ask for, in place of the server's own list."
    )
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


class OAuthClient(models.Model):
    """How we are known to one authorization server; never used at another one.

    `sealed` holds the client secret, or an empty text. Staff enter REGISTERED clients for a
    server of their tenant; the others are made by us, once for a tenant and issuer.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="oauth_clients")
    server = models.ForeignKey(
        Server, on_delete=models.CASCADE, related_name="oauth_clients", null=True, blank=True
    )
    issuer = models.CharField(max_length=500)
    redirect_uri = models.CharField(max_length=500, blank=True)
    kind = models.CharField(
        max_length=10, choices=[(each.value, each.value) for each in ClientKind]
    )
    client_id = models.CharField(max_length=2000)
    auth_method = models.CharField(max_length=50, default="none")
    sealed = models.BinaryField(editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "issuer", "redirect_uri", "kind"],
                condition=Q(server__isnull=True),
                name="one_oauth_client_per_issuer",
            ),
            models.UniqueConstraint(
                fields=["server"],
                condition=Q(server__isnull=False),
                name="one_oauth_client_per_server",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.client_id} at {self.issuer}"


class CredentialState(models.TextChoices):
    """Whether a credential can be used."""

    VALID = "valid"  # as far as we know
    REFUSED = "refused"  # the authorization server renews it no more: the user has to connect again


class Credential(models.Model):
    """A sealed secret for one server in one project: the project's, or one end user's.

    `sealed` is opened by `sealing.py` alone, bound to this row's id. For OAuth it holds both
    tokens, with the issuer and the resource that they are for; the columns below say how they
    are renewed. `version` counts what was written; `refresh_id` and `refresh_until` are the claim
    of whoever renews the tokens just now.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    instance = models.ForeignKey(
        ServerInstance, on_delete=models.CASCADE, related_name="credentials"
    )
    end_user = models.ForeignKey(
        EndUser, on_delete=models.CASCADE, related_name="credentials", null=True, blank=True
    )
    sealed = models.BinaryField(editable=False)
    state = models.CharField(
        max_length=10, choices=CredentialState, default=CredentialState.VALID, editable=False
    )
    state_reason = models.CharField(max_length=300, blank=True, editable=False)
    client = models.ForeignKey(
        OAuthClient, on_delete=models.RESTRICT, related_name="+", null=True, editable=False
    )
    issuer = models.CharField(max_length=500, blank=True, editable=False)
    resource = models.CharField(max_length=2000, blank=True, editable=False)
    token_endpoint = models.CharField(max_length=2000, blank=True, editable=False)
    revocation_endpoint = models.CharField(max_length=2000, blank=True, editable=False)
    scopes: models.JSONField[Any, Any] = models.JSONField(default=list, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, editable=False)
    version = models.PositiveIntegerField(default=1, editable=False)
    refresh_id = models.UUIDField(null=True, editable=False)
    refresh_until = models.DateTimeField(null=True, editable=False)
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

    @property
    def is_oauth(self) -> bool:
        """True where the row holds OAuth tokens, not a value."""
        return bool(self.issuer)

    def __str__(self) -> str:
        owner = self.end_user.email if self.end_user else "the project"
        return f"{self.instance.server.name} for {owner}"


class LinkKind(models.TextChoices):
    """Whose credentials an auth link connects."""

    USER = "user"  # an end user's own
    PROJECT = "project"  # the project's, shared by its users


class AuthLink(models.Model):
    """A page on which somebody without an account connects servers.

    The token is 32 random bytes and is kept as a digest; a task's link is sealed besides, so that
    each poll can repeat it. A link is for one address, or for all of an e-mail domain.
    `task_id` and `run_number` name the run that asked for it. Deleting a link keeps what was
    connected.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="auth_links")
    kind = models.CharField(max_length=10, choices=LinkKind, default=LinkKind.USER)
    email = models.EmailField(max_length=254, blank=True)
    email_domain = models.CharField(max_length=253, blank=True)
    instances: models.ManyToManyField[ServerInstance, Any] = models.ManyToManyField(
        ServerInstance, related_name="auth_links"
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    sealed = models.BinaryField(editable=False, default=b"")
    max_uses = models.PositiveIntegerField(null=True, blank=True)
    uses = models.PositiveIntegerField(default=0, editable=False)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, editable=False)
    created_by = models.CharField(max_length=150, editable=False)
    task_id = models.UUIDField(null=True, editable=False)
    run_number = models.PositiveIntegerField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(email="") ^ Q(email_domain=""), name="link_is_for_address_or_domain"
            ),
            models.CheckConstraint(
                condition=Q(kind=LinkKind.USER.value) | (~Q(email="") & Q(max_uses=1)),
                name="project_link_is_for_one_use_of_one_address",
            ),
            models.UniqueConstraint(
                fields=["task_id", "run_number"],
                condition=Q(task_id__isnull=False),
                name="one_link_per_task_and_run",
            ),
        ]
        indexes = [models.Index(fields=["expires_at"], name="link_expiry")]

    def __str__(self) -> str:
        return f"{self.kind} link for {self.email or '@' + self.email_domain}"


class LinkVisit(models.Model):
    """One browser on the page of a link, known by a cookie that is kept as a digest."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    link = models.ForeignKey(AuthLink, on_delete=models.CASCADE, related_name="visits")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    address = models.EmailField(max_length=254, blank=True)
    proven_at = models.DateTimeField(null=True)
    counted = models.BooleanField(default=False, help_text="It has used the link.")
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["expires_at"], name="visit_expiry")]

    def __str__(self) -> str:
        return f"visit of {self.link}"


class EmailCode(models.Model):
    """A code that was mailed to prove an address: six digits, kept as a digest."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    visit = models.ForeignKey(LinkVisit, on_delete=models.CASCADE, related_name="codes")
    link = models.ForeignKey(AuthLink, on_delete=models.CASCADE, related_name="+")
    address = models.EmailField(max_length=254)
    digest = models.CharField(max_length=64, editable=False)
    tries = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["address", "sent_at"], name="codes_of_address")]

    def __str__(self) -> str:
        return f"code for {self.address}"


class OAuthState(models.Model):
    """A browser that was sent to an authorization server, until it comes back.

    It is good once and for ten minutes, for the browser that holds the cookie. `sealed` holds the
    PKCE verifier.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    cookie_digest = models.CharField(max_length=64, editable=False)
    visit = models.ForeignKey(LinkVisit, on_delete=models.CASCADE, related_name="states")
    instance = models.ForeignKey(ServerInstance, on_delete=models.CASCADE, related_name="+")
    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, related_name="+", null=True)
    client = models.ForeignKey(OAuthClient, on_delete=models.CASCADE, related_name="+")
    sealed = models.BinaryField(editable=False)
    server: models.JSONField[Any, Any] = models.JSONField(
        help_text="What the authorization server said of itself when the browser was sent."
    )
    server_url = models.CharField(max_length=2000)
    resource = models.CharField(max_length=2000)
    scopes: models.JSONField[Any, Any] = models.JSONField(default=list)
    redirect_uri = models.CharField(max_length=500)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["expires_at"], name="oauth_state_expiry")]

    def __str__(self) -> str:
        return f"state for {self.instance}"
