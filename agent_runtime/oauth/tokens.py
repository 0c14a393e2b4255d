"""The authorization request, and the tokens that come of it (OAuth 2.1, RFC 8707, RFC 9207)."""

from __future__ import annotations

import hashlib
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from agent_runtime.oauth.clients import Client
from agent_runtime.oauth.discovery import AuthorizationServer
from agent_runtime.oauth.errors import GrantRefused, OAuthError, Unreachable
from agent_runtime.oauth.http import Answer, OAuthHttp

MAX_TOKEN = 16_000  # characters
MAX_LIFETIME = 10 * 365 * 86_400  # seconds; longer ones are no date
WHAT = "The authorization server's token endpoint"
_CODE = re.compile(r"[a-z0-9_]{1,60}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSet:
    """What a token endpoint gave. `expires_in` is in seconds from the answer, None if unsaid.

    `refresh` is empty where it gave none; after a renewal that means that the old one stays.
    """

    access: str = field(repr=False)
    refresh: str = field(default="", repr=False)
    expires_in: int | None = None
    scope: tuple[str, ...] = ()


def new_verifier() -> str:
    """Return a PKCE code verifier (RFC 7636, 4.1)."""
    return secrets.token_urlsafe(48)


def challenge_of(verifier: str) -> str:
    """Return the S256 code challenge of a verifier (RFC 7636, 4.2)."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def authorization_url(
    *,
    server: AuthorizationServer,
    client: Client,
    redirect_uri: str,
    state: str,
    verifier: str,
    resource: str,
    scopes: tuple[str, ...],
) -> str:
    """Return where to send the user's browser. What the endpoint's own query holds stays."""
    parts = urlsplit(server.authorization_endpoint)
    ours = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": challenge_of(verifier),
        "code_challenge_method": "S256",
        "resource": resource,
    }
    if scopes:
        ours["scope"] = " ".join(scopes)
    if "offline_access" in scopes:
        ours["prompt"] = "consent"  # OpenID Connect, 11: no refresh token without it
    theirs = [
        pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in ours
    ]
    return urlunsplit(parts._replace(query=urlencode([*theirs, *ours.items()]), fragment=""))


def check_issuer(server: AuthorizationServer, answered: str | None) -> None:
    """Raise OAuthError where the answer to the browser came from another issuer (RFC 9207)."""
    if answered is None and not server.sends_issuer:
        return
    if answered != server.issuer:
        raise OAuthError(
            "The answer came from another authorization server than the one that was asked. "
            "Nothing was stored."
        )


async def exchange(
    http: OAuthHttp,
    *,
    server: AuthorizationServer,
    client: Client,
    code: str,
    verifier: str,
    redirect_uri: str,
    resource: str,
) -> TokenSet:
    """Redeem an authorization code. Raises GrantRefused and Unreachable."""
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
        "resource": resource,
    }
    return await _tokens(http, token_endpoint=server.token_endpoint, client=client, fields=fields)


async def refresh(
    http: OAuthHttp,
    *,
    token_endpoint: str,
    client: Client,
    refresh_token: str,
    resource: str,
) -> TokenSet:
    """Renew an access token. Raises GrantRefused and Unreachable."""
    fields = {
        "grant_type": "refresh_token",
        "refresh_token": refresh_token,
        "resource": resource,
    }
    return await _tokens(http, token_endpoint=token_endpoint, client=client, fields=fields)


async def revoke(http: OAuthHttp, *, endpoint: str, client: Client, token: str) -> None:
    """Tell the authorization server that a token is no longer used (RFC 7009). Best effort."""
    fields = {"token": token}
    headers = client.authenticate(fields)
    try:
        await http.post_form(endpoint, fields, headers=headers, what="The revocation endpoint")
    except OAuthError:
        return


async def _tokens(
    http: OAuthHttp, *, token_endpoint: str, client: Client, fields: dict[str, str]
) -> TokenSet:
    headers = client.authenticate(fields)
    answer = await http.post_form(token_endpoint, fields, headers=headers, what=WHAT)
    if answer.status != 200:
        raise _refusal(answer)
    return _token_set(answer.document or {})


def _token_set(document: Mapping[str, Any]) -> TokenSet:
    access, kind = document.get("access_token"), document.get("token_type")
    if not _is_token(access) or not isinstance(access, str):
        raise Unreachable(f"{WHAT} gave no access token.")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise Unreachable(f"{WHAT} gave a token of a kind that MCP does not use.")
    renewal = document.get("refresh_token")
    scope = document.get("scope")
    return TokenSet(
        access=access,
        refresh=renewal if isinstance(renewal, str) and _is_token(renewal) else "",
        expires_in=_lifetime(document.get("expires_in")),
        scope=tuple(scope.split()[:100]) if isinstance(scope, str) else (),
    )


def _is_token(value: Any) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_TOKEN
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )


def _lifetime(value: Any) -> int | None:
    """Return seconds; some servers write the number as a text."""
    try:
        seconds = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(seconds, 0), MAX_LIFETIME)


def _refusal(answer: Answer) -> OAuthError:
    """Return what a failed token request means: RFC 6749, 5.2, or a fault that may pass."""
    code = (answer.document or {}).get("error")
    if isinstance(code, str) and _CODE.match(code) and 400 <= answer.status < 500:
        if code in ("temporarily_unavailable", "server_error", "slow_down"):
            return Unreachable(f"{WHAT} is not available now ({code}).")
        return GrantRefused(f"{WHAT} refused: {code}.", code=code)
    if answer.status in (408, 425, 429) or answer.status >= 500:
        return Unreachable(f"{WHAT} answered {answer.status}.")
    return GrantRefused(f"{WHAT} answered {answer.status}.", code="")
