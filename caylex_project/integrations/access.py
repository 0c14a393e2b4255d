"""What the agent may reach as one end user: every connected server, its credential opened."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.db.models import Q

from agent_runtime.mcp.access import ServerAccess
from agent_runtime.messages import Permission
from agent_runtime.oauth.discovery import is_for
from caylex_project.accounts.models import EndUser, Navigator, Project
from caylex_project.integrations.bearer import CredentialBearer, in_a_thread
from caylex_project.integrations.credentials import CredentialRefused, check_value, value_of
from caylex_project.integrations.models import (
    AuthKind,
    AuthLevel,
    Credential,
    CredentialState,
    ServerInstance,
    ToolPermission,
)
from caylex_project.integrations.oauth_tokens import tokens_of
from caylex_project.integrations.renewal import InThread


def accesses_for(
    *,
    project: Project,
    navigator: Navigator,
    end_user: EndUser,
    in_thread: InThread = in_a_thread,
) -> list[ServerAccess]:
    """Return one access for each server that is connected and paused nowhere, by name.

    Three queries, however many servers there are. A credential that is absent, does not open
    or cannot be sent is a `problem` with `needs_credential`; it never raises. `in_thread` is
    where OAuth tokens are renewed later: it runs what uses the database.
    """
    instances = (
        ServerInstance.objects.filter(project=project, paused=False, server__paused=False)
        .select_related("server")
        .order_by("server__name")
    )
    credentials = {
        (row.instance_id, row.end_user_id): row
        for row in Credential.objects.filter(
            Q(end_user=None) | Q(end_user=end_user),
            instance__project=project,
            instance__paused=False,
        )
    }
    permissions: dict[object, dict[str, Permission]] = {}
    for row in ToolPermission.objects.filter(navigator=navigator, instance__project=project):
        permissions.setdefault(row.instance_id, {})[row.tool] = Permission(row.permission)
    return [
        _access(
            instance,
            end_user=end_user,
            credential=credentials.get((instance.pk, _owner(instance, end_user))),
            permissions=permissions.get(instance.pk, {}),
            in_thread=in_thread,
        )
        for instance in instances
    ]


def access_of(*, instance: ServerInstance, end_user: EndUser | None) -> ServerAccess:
    """Return the access to one server, paused or not, with every tool of it permitted.

    `end_user` is whose credential it is; None where the project has one for everybody.
    """
    rows = Credential.objects.filter(instance=instance, end_user=_owner(instance, end_user))
    return _access(
        instance, end_user=end_user, credential=rows.first(), permissions={}, in_thread=in_a_thread
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    """An opened credential at its place in the request."""

    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    path: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    bearer: CredentialBearer | None = None


def version_of(credential: Credential | None) -> str:
    """Return a text that changes whenever a credential is stored again; empty without one."""
    return "" if credential is None else f"{credential.pk} {credential.version}"


def _owner(instance: ServerInstance, end_user: EndUser | None) -> uuid.UUID | None:
    return end_user.pk if end_user and instance.auth_level == AuthLevel.USER else None


def _access(
    instance: ServerInstance,
    *,
    end_user: EndUser | None,
    credential: Credential | None,
    permissions: Mapping[str, Permission],
    in_thread: InThread,
) -> ServerAccess:
    placed = _place(instance, credential, in_thread)
    problem = ""
    if placed is None:
        problem = _problem(instance, end_user, credential)
        placed = _Placed()
    server = instance.server
    return ServerAccess(
        name=server.name,
        url=server.url,
        headers=placed.headers,
        query=placed.query,
        path=placed.path,
        secrets=placed.secrets,
        bearer=placed.bearer,
        permissions=permissions,
        repeatable=frozenset(server.repeatable_tools),
        problem=problem,
        needs_credential=bool(problem),
        catalogue_key=_catalogue_key(instance, credential),
        personal=instance.auth_level == AuthLevel.USER,
        credential_version=version_of(credential),
    )


def _place(
    instance: ServerInstance, credential: Credential | None, in_thread: InThread
) -> _Placed | None:
    """Return the credential where its kind puts it, or None where it cannot be sent."""
    server = instance.server
    kind = AuthKind(server.auth_kind)
    if kind is AuthKind.NONE:
        return _Placed()
    if credential is None or credential.is_oauth != (kind is AuthKind.OAUTH2):
        return None  # the server's kind may have changed since
    if kind is AuthKind.OAUTH2:
        return _place_tokens(server.url, credential, in_thread)
    value = value_of(credential)
    if value is None:
        return None
    try:
        check_value(value, auth_kind=kind)
    except CredentialRefused:
        return None
    secrets = (value,)
    if kind is AuthKind.BEARER:
        return _Placed(headers={"Authorization": f"Bearer {value}"}, secrets=secrets)
    if kind is AuthKind.HEADER:
        header = f"{server.auth_prefix}{value}"
        return _Placed(headers={server.auth_name: header}, secrets=secrets)
    if kind is AuthKind.QUERY:
        return _Placed(query={server.auth_name: value}, secrets=secrets)
    return _Placed(path={server.auth_name: value}, secrets=secrets)


def _place_tokens(url: str, credential: Credential, in_thread: InThread) -> _Placed | None:
    """Return the access token; None where it has ended for good, or is for another address."""
    tokens = tokens_of(credential) if credential.state == CredentialState.VALID else None
    if tokens is None or not is_for(credential.resource, url):
        return None
    return _Placed(bearer=CredentialBearer(row=credential, tokens=tokens, in_thread=in_thread))


def _problem(
    instance: ServerInstance, end_user: EndUser | None, credential: Credential | None
) -> str:
    name = instance.server.name
    who = "An administrator"
    if end_user is not None and instance.auth_level == AuthLevel.USER:
        who = end_user.email
    if credential is not None and credential.state == CredentialState.REFUSED:
        return f"{who} must connect {name} again: {credential.state_reason}."
    return f"{who} must connect {name} first."


def _catalogue_key(instance: ServerInstance, credential: Credential | None) -> str:
    server = instance.server
    facts = [
        str(instance.pk),
        "" if instance.tools_listed_at is None else instance.tools_listed_at.isoformat(),
        server.url,
        server.auth_kind,
        server.auth_name,
        server.auth_prefix,
        "" if credential is None else f"{credential.pk} {credential.updated_at.isoformat()}",
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
