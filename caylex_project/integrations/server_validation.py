"""What may be said of a server: its address, and where its credential goes."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings

from agent_runtime.errors import AddressRefused
from agent_runtime.net.address_guard import AddressGuard
from caylex_project.integrations.models import AuthKind

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # a token of RFC 9110
_QUERY_NAME = re.compile(r"[A-Za-z0-9._~\[\]-]{1,100}")
_PATH_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_PREFIX = re.compile(r"[\x20-\x7e]{0,100}")
_NAMES = {
    AuthKind.HEADER: _HEADER_NAME,
    AuthKind.QUERY: _QUERY_NAME,
    AuthKind.PATH: _PATH_NAME,
}
# Headers that frame a request or belong to the protocol: a credential there would break both.
# fmt: off
_NOT_OURS = frozenset((
    "accept", "accept-encoding", "connection", "content-encoding", "content-length",
    "content-type", "expect", "host", "idempotency-key", "keep-alive", "last-event-id",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
))
# fmt: on


class ServerRefused(ValueError):
    """The server cannot be saved like this; `str()` is a sentence that is safe to show."""


def check_server(*, url: str, auth_kind: AuthKind, auth_name: str, auth_prefix: str) -> str | None:
    """Check what is said of a server before it is saved, and return a warning or None.

    Blocks while the name in the URL is looked up. Raises ServerRefused.
    """
    _check_auth(auth_kind=auth_kind, auth_name=auth_name, auth_prefix=auth_prefix)
    guard = AddressGuard.of(networks=settings.ENVIRONMENT.caylex_private_networks)
    filled = _fill(url, auth_kind=auth_kind, auth_name=auth_name)
    try:
        warning = guard.check_url(filled)
    except AddressRefused as error:
        raise ServerRefused(f"url: {error}") from None
    if "#" in url:
        raise ServerRefused("url: leave out the part after '#'; it is never sent.")
    if auth_kind is AuthKind.QUERY:
        names = {name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
        if auth_name in names:
            raise ServerRefused(f"url: leave out the parameter {auth_name}; the credential is it.")
    return warning


def _check_auth(*, auth_kind: AuthKind, auth_name: str, auth_prefix: str) -> None:
    pattern = _NAMES.get(auth_kind)
    if pattern is None:
        if auth_name:
            raise ServerRefused(f"auth.name: kind {auth_kind} takes no name; leave it out.")
    elif not auth_name:
        raise ServerRefused(f"auth.name: kind {auth_kind} needs a name.")
    elif not pattern.fullmatch(auth_name):
        raise ServerRefused(f"auth.name: this cannot be the name for kind {auth_kind}.")
    if auth_prefix and auth_kind is not AuthKind.HEADER:
        raise ServerRefused(f"auth.prefix: kind {auth_kind} takes no prefix; leave it out.")
    if not _PREFIX.fullmatch(auth_prefix) or auth_prefix.startswith(" "):
        raise ServerRefused(
            "auth.prefix: use at most 100 printable ASCII characters, not starting with a space."
        )
    if auth_kind is AuthKind.HEADER:
        lower = auth_name.lower()
        if lower in _NOT_OURS or lower.startswith("mcp-"):
            raise ServerRefused(f"auth.name: {auth_name} is not free for a credential.")


def _fill(url: str, *, auth_kind: AuthKind, auth_name: str) -> str:
    """Return the URL with a stand-in at the credential's place, so that it can be checked."""
    if auth_kind is not AuthKind.PATH:
        if "{" in url or "}" in url:
            raise ServerRefused(f"url: braces have no meaning with auth kind {auth_kind}.")
        return url
    place = f"{{{auth_name}}}"
    try:
        in_path = urlsplit(url).path.count(place)
    except ValueError:
        raise ServerRefused("url: the address cannot be read.") from None
    if in_path != 1 or url.count("{") != 1 or url.count("}") != 1:
        raise ServerRefused(f"url: with auth kind path it holds {place} exactly once, in its path.")
    return url.replace(place, "credential")
