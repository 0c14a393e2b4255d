"""Keeping OAuth tokens: sealed in the credential's row, bound to their issuer and resource."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db.models import F

from agent_runtime.oauth.clients import Client, ClientKind
from agent_runtime.oauth.tokens import TokenSet
from caylex_project.accounts.models import EndUser
from caylex_project.integrations.models import (
    Credential,
    CredentialState,
    OAuthClient,
    Server,
    ServerInstance,
)
from caylex_project.integrations.sealing import DoesNotOpen, open_sealed, seal


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where tokens came from, and where they are renewed and revoked."""

    client: OAuthClient
    issuer: str
    resource: str
    token_endpoint: str
    revocation_endpoint: str = ""
    scopes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Both tokens of a credential; `refresh` is empty where the server gave none."""

    access: str = field(repr=False)
    refresh: str = field(default="", repr=False)


def store_tokens(
    *,
    instance: ServerInstance,
    end_user: EndUser | None,
    tokens: TokenSet,
    source: Source,
    now: datetime.datetime,
) -> Credential:
    """Seal and keep tokens, in place of what the row held; a renewal under way is overtaken."""
    row, _ = Credential.objects.get_or_create(
        instance=instance, end_user=end_user, defaults={"id": uuid.uuid4(), "sealed": b""}
    )
    Credential.objects.filter(pk=row.pk).update(
        sealed=sealed_tokens(
            Tokens(access=tokens.access, refresh=tokens.refresh),
            row_id=row.pk,
            issuer=source.issuer,
            resource=source.resource,
        ),
        state=CredentialState.VALID,
        state_reason="",
        client=source.client,
        issuer=source.issuer,
        resource=source.resource,
        token_endpoint=source.token_endpoint,
        revocation_endpoint=source.revocation_endpoint,
        scopes=list(tokens.scope or source.scopes),
        expires_at=expiry(tokens, now),
        version=F("version") + 1,
        refresh_id=None,
        refresh_until=None,
        updated_at=now,
    )
    row.refresh_from_db()
    return row


def tokens_of(row: Credential) -> Tokens | None:
    """Return the tokens of a credential; None where they do not open, or are for elsewhere."""
    try:
        kept = json.loads(open_sealed(row.sealed, row_id=row.pk))
    except (DoesNotOpen, ValueError):
        return None
    if not isinstance(kept, dict) or kept.get("issuer") != row.issuer:
        return None
    if kept.get("resource") != row.resource:
        return None
    return Tokens(access=kept["access"], refresh=kept.get("refresh", ""))


def sealed_tokens(tokens: Tokens, *, row_id: uuid.UUID, issuer: str, resource: str) -> bytes:
    """Return the tokens sealed for one row, with the issuer and the resource they are for."""
    kept = {
        "access": tokens.access,
        "refresh": tokens.refresh,
        "issuer": issuer,
        "resource": resource,
    }
    return seal(json.dumps(kept), row_id=row_id)


def expiry(tokens: TokenSet, now: datetime.datetime) -> datetime.datetime | None:
    """Return when an access token ends, or None where the server did not say."""
    if tokens.expires_in is None:
        return None
    return now + datetime.timedelta(seconds=tokens.expires_in)


def client_of(row: OAuthClient) -> Client:
    """Return the client that a row keeps. Raises DoesNotOpen."""
    return Client(
        issuer=row.issuer,
        client_id=row.client_id,
        kind=ClientKind(row.kind),
        secret=open_sealed(row.sealed, row_id=row.pk),
        auth_method=row.auth_method,
    )


def keep_client(
    client: Client, *, tenant_id: uuid.UUID, redirect_uri: str, replace: bool = False
) -> OAuthClient:
    """Keep a client that we made; of two made at once the first one's row stays.

    `replace` puts the new one in place of a registration that its server has forgotten.
    """
    row_id = uuid.uuid4()
    values = {
        "client_id": client.client_id,
        "auth_method": client.auth_method,
    }
    row, made = OAuthClient.objects.get_or_create(
        tenant_id=tenant_id,
        server=None,
        issuer=client.issuer,
        redirect_uri=redirect_uri,
        kind=client.kind.value,
        defaults={**values, "id": row_id, "sealed": seal(client.secret, row_id=row_id)},
    )
    if not made and replace:
        for name, value in values.items():
            setattr(row, name, value)
        row.sealed = seal(client.secret, row_id=row.pk)
        row.save(update_fields=[*values, "sealed"])
    return row


def enter_client(*, server: Server, issuer: str, client_id: str, secret: str) -> OAuthClient:
    """Keep the client that was registered by hand for a server, in place of an older one.

    Credentials that an older client got keep its row, and are renewed by it.
    """
    row = OAuthClient.objects.filter(server=server).first()
    if row is not None and (row.issuer, row.client_id) != (issuer, client_id):
        OAuthClient.objects.filter(pk=row.pk).update(server=None, redirect_uri=f"replaced {row.pk}")
        row = None
    row = row or OAuthClient(
        tenant_id=server.tenant_id,
        server=server,
        issuer=issuer,
        client_id=client_id,
        kind=ClientKind.REGISTERED.value,
    )
    row.auth_method = "client_secret_basic" if secret else "none"
    row.sealed = seal(secret, row_id=row.pk)
    row.save()
    return row
