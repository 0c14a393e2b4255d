"""What the connect page shows of each server."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from urllib.parse import urlsplit

from caylex_project.accounts.models import EndUser
from caylex_project.integrations.models import (
    AuthKind,
    AuthLevel,
    Credential,
    CredentialState,
    LinkVisit,
    ServerInstance,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One server on the page. Hosts are shown as text, never as a link."""

    instance_id: uuid.UUID
    name: str
    host: str
    issuer_host: str
    is_oauth: bool
    value_label: str
    is_connected: bool
    problem: str
    updated_at: object


def rows_of(visit: LinkVisit) -> list[Row]:
    """Return the servers of the visit's link by name, with how they stand for the visitor."""
    instances = visit.link.instances.select_related("server").order_by("server__name")
    person = EndUser.objects.filter(project=visit.link.project, email=visit.address).first()
    rows = Credential.objects.filter(instance__in=instances)
    credentials = {(each.instance_id, each.end_user_id): each for each in rows}
    return [_row(each, credentials.get((each.pk, _owner_id(each, person)))) for each in instances]


def _owner_id(instance: ServerInstance, person: EndUser | None) -> uuid.UUID | None:
    if instance.auth_level == AuthLevel.PROJECT:
        return None
    return person.pk if person else uuid.UUID(int=0)  # nobody yet: nothing is connected


def _row(instance: ServerInstance, credential: Credential | None) -> Row:
    server = instance.server
    refused = credential is not None and credential.state != CredentialState.VALID
    return Row(
        instance_id=instance.pk,
        name=server.name,
        host=_host(server.url),
        issuer_host=_host((credential.issuer if credential else "") or server.oauth_issuer),
        is_oauth=server.auth_kind == AuthKind.OAUTH2,
        value_label=server.auth_name if server.auth_kind != AuthKind.BEARER else "",
        is_connected=credential is not None and not refused,
        problem=credential.state_reason if credential and refused else "",
        updated_at=credential.updated_at if credential else None,
    )


def _host(url: str) -> str:
    return urlsplit(url).netloc if url else ""


def status_line(rows: list[Row]) -> str:
    """Return in one sentence how many servers are connected."""
    connected = sum(row.is_connected for row in rows)
    if connected == len(rows):
        return "Everything is connected. You can close this page."
    return f"{connected} of {len(rows)} connected."
