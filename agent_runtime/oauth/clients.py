"""The three ways in which we are known to an authorization server."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from agent_runtime.oauth.discovery import AuthorizationServer
from agent_runtime.oauth.errors import ClientNeeded, Unreachable
from agent_runtime.oauth.http import OAuthHttp

CLIENT_NAME = "Caylex Agent Tasks"


class ClientKind(StrEnum):
    """How a client came to be known to its authorization server."""

    REGISTERED = "registered"  # entered by staff
    DOCUMENT = "document"  # an address of ours that describes us (CIMD)
    DYNAMIC = "dynamic"  # made by RFC 7591


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client at one issuer, never used at another. `auth_method` is of RFC 7591, section 2."""

    issuer: str
    client_id: str
    kind: ClientKind
    secret: str = field(default="", repr=False)
    auth_method: str = "none"

    def authenticate(self, fields: dict[str, str]) -> Mapping[str, str]:
        """Add what identifies the client to a token request; returns the headers it needs.

        Basic credentials are form-encoded first (RFC 6749, 2.3.1).
        """
        if self.auth_method == "client_secret_basic" and self.secret:
            pair = f"{quote(self.client_id, safe='')}:{quote(self.secret, safe='')}"
            return {"authorization": f"Basic {b64encode(pair.encode()).decode()}"}
        fields["client_id"] = self.client_id
        if self.secret:
            fields["client_secret"] = self.secret
        return {}


def auth_method_of(server: AuthorizationServer, *, has_secret: bool) -> str:
    """Return how a client shows who it is: the first way that both sides know."""
    if not has_secret:
        return "none"
    known = [m for m in server.token_auth_methods if m.startswith("client_secret_")]
    wanted = ("client_secret_basic", "client_secret_post")
    return next((method for method in wanted if method in known), "client_secret_basic")


def document_client(server: AuthorizationServer, *, public_url: str, path: str) -> Client | None:
    """Return the client that is an address of ours, where both sides can do that."""
    if not server.client_id_documents or not public_url.startswith("https://"):
        return None
    return Client(
        issuer=server.issuer,
        client_id=f"{public_url.rstrip('/')}{path}",
        kind=ClientKind.DOCUMENT,
    )


def client_document(*, client_id: str, redirect_uri: str) -> dict[str, Any]:
    """Return the document that describes us: served at the address that is its `client_id`."""
    return {
        "client_id": client_id,
        "client_name": CLIENT_NAME,
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "web",
    }


async def register(
    http: OAuthHttp,
    *,
    server: AuthorizationServer,
    redirect_uri: str,
    scopes: tuple[str, ...],
) -> Client:
    """Register us at an authorization server (RFC 7591).

    Raises ClientNeeded where it offers no registration or refuses ours.
    """
    if not server.registration_endpoint:
        raise ClientNeeded(
            f"{server.issuer} takes no new clients by itself: an administrator has to register "
            "this service there and enter its client id."
        )
    wanted: dict[str, Any] = {
        **client_document(client_id="", redirect_uri=redirect_uri),
        "token_endpoint_auth_method": _registered_method(server),
    }
    del wanted["client_id"]
    if scopes:
        wanted["scope"] = " ".join(scopes)
    answer = await http.post_json(
        server.registration_endpoint, wanted, what="The authorization server's registration"
    )
    if answer.status >= 500:
        raise Unreachable(f"{server.issuer} could not register this service now.")
    document = answer.document or {}
    client_id = document.get("client_id")
    if answer.status not in (200, 201) or not isinstance(client_id, str) or not client_id:
        raise ClientNeeded(
            f"{server.issuer} refused to register this service: an administrator has to "
            "register it there and enter its client id."
        )
    secret = document.get("client_secret")
    secret = secret if isinstance(secret, str) else ""
    method = document.get("token_endpoint_auth_method")
    return Client(
        issuer=server.issuer,
        client_id=client_id,
        kind=ClientKind.DYNAMIC,
        secret=secret,
        auth_method=method
        if isinstance(method, str)
        else auth_method_of(server, has_secret=bool(secret)),
    )


def _registered_method(server: AuthorizationServer) -> str:
    """Return the method to ask for: none where a public client is welcome."""
    if "none" in server.token_auth_methods:
        return "none"
    return auth_method_of(server, has_secret=True)
