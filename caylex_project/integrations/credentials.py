"""Keeping credentials: what may be one, and how it is stored."""

from __future__ import annotations

import uuid
from typing import Any

from caylex_project.accounts.models import EndUser
from caylex_project.integrations.models import (
    AuthKind,
    AuthLevel,
    Credential,
    CredentialState,
    ServerInstance,
)
from caylex_project.integrations.sealing import DoesNotOpen, open_sealed, seal

MIN_LENGTH = 8  # characters; shorter ones could not be told from ordinary words when scrubbed
MAX_LENGTH = 4096


# The columns of OAuth tokens in a row that holds a value.
NO_TOKENS: dict[str, Any] = {
    "state": CredentialState.VALID,
    "state_reason": "",
    "client": None,
    "issuer": "",
    "resource": "",
    "token_endpoint": "",
    "revocation_endpoint": "",
    "scopes": [],
    "expires_at": None,
    "refresh_id": None,
    "refresh_until": None,
}


class CredentialRefused(ValueError):
    """The credential cannot be kept; `str()` is a sentence without the value."""


def check_value(value: str, *, auth_kind: AuthKind) -> None:
    """Raise CredentialRefused unless the value can be put on the wire as that kind."""
    if len(value) < MIN_LENGTH:
        raise CredentialRefused(f"The value is too short: at least {MIN_LENGTH} characters.")
    if len(value) > MAX_LENGTH:
        raise CredentialRefused(f"The value is too long: at most {MAX_LENGTH} characters.")
    if value != value.strip():
        raise CredentialRefused("The value must not begin or end with a space or a line break.")
    if not value.isprintable():
        raise CredentialRefused("The value must not hold control characters or line breaks.")
    if auth_kind in (AuthKind.BEARER, AuthKind.HEADER) and not value.isascii():
        raise CredentialRefused("The value goes into a header and must be plain ASCII.")


def store_credential(
    *, instance: ServerInstance, end_user: EndUser | None, value: str
) -> Credential:
    """Seal and keep the value, in place of an older one, and return its row.

    `end_user` is None for a server that takes one credential for the whole project. The same
    value again changes nothing. Of two writers at once the last one's value stays.

    Raises CredentialRefused.
    """
    check_credential(instance=instance, end_user=end_user, value=value)
    made_id = uuid.uuid4()
    row, made = Credential.objects.get_or_create(
        instance=instance,
        end_user=end_user,
        defaults={"id": made_id, "sealed": seal(value, row_id=made_id)},
    )
    if not made and (row.is_oauth or value_of(row) != value):
        for name, cleared in NO_TOKENS.items():
            setattr(row, name, cleared)
        row.sealed = seal(value, row_id=row.id)
        row.version += 1
        row.save(update_fields=["sealed", "updated_at", "version", *NO_TOKENS])
    return row


def check_credential(*, instance: ServerInstance, end_user: EndUser | None, value: str) -> None:
    """Raise CredentialRefused unless `store_credential` would keep the value."""
    _check_owner(instance=instance, end_user=end_user)
    check_value(value, auth_kind=AuthKind(instance.server.auth_kind))


def value_of(row: Credential) -> str | None:
    """Return the opened value, or None where it does not open."""
    try:
        return open_sealed(row.sealed, row_id=row.id)
    except DoesNotOpen:
        return None


def _check_owner(*, instance: ServerInstance, end_user: EndUser | None) -> None:
    name = instance.server.name
    if instance.server.auth_kind == AuthKind.NONE:
        raise CredentialRefused(f"The server {name} takes no credential.")
    if instance.server.auth_kind == AuthKind.OAUTH2:
        raise CredentialRefused(f"The server {name} takes OAuth tokens, not a value: send a link.")
    if instance.auth_level == AuthLevel.USER:
        if end_user is None:
            raise CredentialRefused(f"Each user of {name} has a credential: say whose it is.")
        if end_user.project_id != instance.project_id:
            raise CredentialRefused("The user and the server belong to different projects.")
    elif end_user is not None:
        raise CredentialRefused(
            f"The server {name} takes one credential for the whole project, not one for a user."
        )
