"""Renewing OAuth tokens without their user: one request, however many runs need it.

1. A short commit claims the row for CLAIM_SECONDS, by the database's clock, if it is free.
2. The request runs with no transaction open.
3. Its result, a rotated refresh token with it, is written where the claim and the version are
   still ours.
4. Whoever finds the row claimed waits outside any transaction and reads again.

A claim that ran out belonged to somebody who died in the middle. The old refresh token is tried
once; if the server has rotated it away by then, its answer was lost, and the user has to connect
again: a sentence, not a loop.
"""

from __future__ import annotations

import asyncio
import datetime
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
from django.db.models import F, Q
from django.db.models.functions import Now

from agent_runtime.oauth.clients import Client
from agent_runtime.oauth.errors import GrantRefused, OAuthError
from agent_runtime.oauth.tokens import TokenSet, refresh
from caylex_project.db.clock import clock
from caylex_project.integrations.connecting import oauth_http
from caylex_project.integrations.models import Credential, CredentialState
from caylex_project.integrations.oauth_tokens import (
    Tokens,
    client_of,
    expiry,
    sealed_tokens,
    tokens_of,
)
from caylex_project.integrations.sealing import DoesNotOpen

AHEAD = datetime.timedelta(seconds=60)  # before its end a token is renewed
CLAIM_SECONDS = 30
LOOK_AGAIN = 0.1  # seconds between two looks at a row that somebody else renews
PATIENCE = 2 * CLAIM_SECONDS  # seconds that somebody else's renewal is waited for
LOST = "the answer to the last renewal was lost"
ENDED = "the authorization server no longer renews it"

Work = Callable[[], object]
InThread = Callable[[Work], Awaitable[object]]  # runs what uses the database off the event loop

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """The access token in force, or the `problem`: with `final` only its user can help."""

    access: str = field(default="", repr=False)
    version: int = 0
    expires_at: datetime.datetime | None = None
    problem: str = ""
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claimed:
    """What the one who renews needs, read in the commit of the claim."""

    claim: uuid.UUID
    version: int
    tokens: Tokens
    client: Client
    issuer: str
    resource: str
    token_endpoint: str
    after_a_death: bool


def is_due(expires_at: datetime.datetime | None, now: datetime.datetime) -> bool:
    """True from a minute before the access token ends."""
    return expires_at is not None and now >= expires_at - AHEAD


async def renew(
    credential_id: uuid.UUID,
    *,
    seen_version: int,
    in_thread: InThread,
) -> Renewed:
    """Return a newer access token than that of `seen_version`. Never raises for a server.

    `in_thread` runs a function that uses the database off the event loop.
    """
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        found = await in_thread(lambda: _look(credential_id, seen_version))
        if isinstance(found, Renewed):
            return found
        if isinstance(found, _Claimed):
            return await _renew_claimed(credential_id, found, in_thread)
        if asyncio.get_running_loop().time() >= deadline:
            return Renewed(problem="Its renewal is taking too long.")
        await asyncio.sleep(LOOK_AGAIN)


def _look(credential_id: uuid.UUID, seen_version: int) -> Renewed | _Claimed | None:
    """Return what somebody else has renewed, or the claim; None while somebody else is at it."""
    row = Credential.objects.select_related("client").filter(pk=credential_id).first()
    if row is None or row.state != CredentialState.VALID:
        reason = row.state_reason if row else "it was disconnected"
        return Renewed(problem=reason, final=True)
    tokens = tokens_of(row)
    if tokens is None:
        return Renewed(problem="its tokens do not open", final=True)
    if row.version != seen_version:
        return Renewed(access=tokens.access, version=row.version, expires_at=row.expires_at)
    if row.client is None or not tokens.refresh:
        return Renewed(problem="the authorization server gave nothing to renew it by", final=True)
    try:
        client = client_of(row.client)
    except DoesNotOpen:
        return Renewed(problem="the client secret does not open", final=True)
    claim = uuid.uuid4()
    claimed = (
        Credential.objects.filter(pk=row.pk, version=row.version)
        .filter(Q(refresh_id=None) | Q(refresh_until__lt=Now()))
        .update(refresh_id=claim, refresh_until=Now() + datetime.timedelta(seconds=CLAIM_SECONDS))
    )
    if not claimed:
        return None
    return _Claimed(
        claim=claim,
        version=row.version,
        tokens=tokens,
        client=client,
        issuer=row.issuer,
        resource=row.resource,
        token_endpoint=row.token_endpoint,
        after_a_death=row.refresh_id is not None,
    )


async def _renew_claimed(
    credential_id: uuid.UUID,
    claimed: _Claimed,
    in_thread: InThread,
) -> Renewed:
    try:
        async with asyncio.timeout(CLAIM_SECONDS * 0.8), oauth_http() as http:
            tokens = await refresh(
                http,
                token_endpoint=claimed.token_endpoint,
                client=claimed.client,
                refresh_token=claimed.tokens.refresh,
                resource=claimed.resource,
            )
    except GrantRefused as refused:
        reason = LOST if claimed.after_a_death else ENDED
        await in_thread(lambda: _refuse(credential_id, claimed, reason))
        log.warning("credential.refused", credential=str(credential_id), code=refused.code)
        return Renewed(problem=reason, final=True)
    except (OAuthError, TimeoutError) as fault:
        await in_thread(lambda: _give_up(credential_id, claimed))
        return Renewed(problem=str(fault) or "The authorization server did not answer.")
    expires_at = expiry(tokens, clock.now())
    written = await in_thread(lambda: _write(credential_id, claimed, tokens, expires_at))
    version = claimed.version + 1 if written else 0
    return Renewed(access=tokens.access, version=version, expires_at=expires_at)


def _mine(credential_id: uuid.UUID, claimed: _Claimed) -> Q:
    return Q(pk=credential_id, refresh_id=claimed.claim, version=claimed.version)


def _write(
    credential_id: uuid.UUID,
    claimed: _Claimed,
    tokens: TokenSet,
    expires_at: datetime.datetime | None,
) -> int:
    """Keep renewed tokens; a server that gave no new refresh token keeps taking the old one."""
    kept = Tokens(access=tokens.access, refresh=tokens.refresh or claimed.tokens.refresh)
    return Credential.objects.filter(_mine(credential_id, claimed)).update(
        sealed=sealed_tokens(
            kept, row_id=credential_id, issuer=claimed.issuer, resource=claimed.resource
        ),
        expires_at=expires_at,
        version=F("version") + 1,
        refresh_id=None,
        refresh_until=None,
        updated_at=clock.now(),
    )


def _refuse(credential_id: uuid.UUID, claimed: _Claimed, reason: str) -> None:
    """Mark the credential, unless somebody has connected it again meanwhile."""
    Credential.objects.filter(_mine(credential_id, claimed)).update(
        state=CredentialState.REFUSED,
        state_reason=reason,
        version=F("version") + 1,
        refresh_id=None,
        refresh_until=None,
    )


def _give_up(credential_id: uuid.UUID, claimed: _Claimed) -> None:
    """Let others try: the server could not answer."""
    Credential.objects.filter(_mine(credential_id, claimed)).update(
        refresh_id=None, refresh_until=None
    )
