"""Making and verifying the two kinds of secret: platform tokens and navigator keys.

The text is `{prefix}_{id}.{secret}`: `cpt_` for a platform token, `ck_` for a navigator key;
the id is the row's UUID as 32 hex digits, the secret 32 random bytes as 43 characters of
URL-safe base64. The row keeps the SHA-256 of the whole text: a secret of 256 bits needs no
slow hash, and a digest of one row is worthless in another.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
import secrets
import uuid
from typing import TypeVar

from caylex_project.accounts.models import Navigator, NavigatorKey, PlatformToken, Secret, Tenant
from caylex_project.db.compiled_query import CompiledQuery

PLATFORM_TOKEN = "cpt"  # noqa: S105 - a prefix
NAVIGATOR_KEY = "ck"

_SHAPE = re.compile(r"([a-z]+)_([0-9a-f]{32})\.[A-Za-z0-9_-]{43}")
_LENGTH = 200  # longer than any of ours
_NOBODY = uuid.UUID(int=0)
_NO_DIGEST = hashlib.sha256(b"").hexdigest()

Row = TypeVar("Row", bound=Secret)

# Asked with every request, so compiled once.
_TOKEN = CompiledQuery(
    lambda id: PlatformToken.objects.select_related("tenant").filter(pk=id), id=uuid.UUID
)
_KEY = CompiledQuery(
    lambda id: NavigatorKey.objects.select_related("navigator__project__tenant").filter(pk=id),
    id=uuid.UUID,
)


def give_secret(row: Secret) -> str:
    """Put the digest of a fresh secret on an unsaved row and return the text, the only time."""
    prefix = PLATFORM_TOKEN if isinstance(row, PlatformToken) else NAVIGATOR_KEY
    text = f"{prefix}_{row.id.hex}.{secrets.token_urlsafe(32)}"
    row.digest = _digest(text)
    return text


def issue_platform_token(
    *, tenant: Tenant, name: str, expires_at: datetime.datetime | None = None
) -> tuple[PlatformToken, str]:
    """Make a tenant-wide token; return its row and its text, which is kept nowhere."""
    row = PlatformToken(tenant=tenant, name=name, expires_at=expires_at)
    text = give_secret(row)
    row.save(force_insert=True)
    return row, text


def issue_navigator_key(
    *, navigator: Navigator, expires_at: datetime.datetime | None = None
) -> tuple[NavigatorKey, str]:
    """Make a key of the navigator; return its row and its text, which is kept nowhere."""
    row = NavigatorKey(navigator=navigator, expires_at=expires_at)
    text = give_secret(row)
    row.save(force_insert=True)
    return row, text


def find_platform_token(text: str, *, now: datetime.datetime) -> PlatformToken | None:
    """Return the usable token that the text is, its tenant with it, in one query, or None.

    Malformed, unknown, wrong secret, expired and revoked are one answer for one and the same
    work: a query, a digest, a comparison in constant time. No text raises.
    """
    return _find(_TOKEN, text, prefix=PLATFORM_TOKEN, now=now)


def find_navigator_key(text: str, *, tenant: Tenant, now: datetime.datetime) -> NavigatorKey | None:
    """Return the usable key that the text is, with its navigator and project, or None.

    Like `find_platform_token`; a key of another tenant is None too, for the same work.
    """
    row = _find(_KEY, text, prefix=NAVIGATOR_KEY, now=now)
    if row is None or row.navigator.project.tenant_id != tenant.pk:
        return None
    return row


def _find(
    query: CompiledQuery[Row], text: str, *, prefix: str, now: datetime.datetime
) -> Row | None:
    shape = _SHAPE.fullmatch(text) if len(text) <= _LENGTH else None
    well_formed = shape is not None and shape[1] == prefix
    row = query.find(id=uuid.UUID(shape[2]) if shape and well_formed else _NOBODY)
    presented = _digest(text if well_formed else f"{prefix}_{_NOBODY.hex}.{'-' * 43}")
    same = hmac.compare_digest(presented, _NO_DIGEST if row is None else row.digest)
    return row if row is not None and same and row.usable(now) else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
