"""From an MCP server's address to the authorization server that issues tokens for it.

RFC 9728 (protected resource metadata), RFC 8414 and OpenID Connect Discovery (authorization
server metadata), in the order that the MCP specification of 2026-07-28 asks for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from agent_runtime.errors import AddressRefused
from agent_runtime.net.web_address import WebAddress
from agent_runtime.oauth.errors import NotDiscoverable
from agent_runtime.oauth.http import OAuthHttp

RESOURCE_PATH = "/.well-known/oauth-protected-resource"
SERVER_PATH = "/.well-known/oauth-authorization-server"
OPENID_PATH = "/.well-known/openid-configuration"
MAX_SCOPES = 100
_PARAMETER = re.compile(r'([A-Za-z0-9_.-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What the `WWW-Authenticate` header of a 401 or 403 says (RFC 6750, RFC 9728)."""

    resource_metadata: str = ""
    scope: tuple[str, ...] = ()
    error: str = ""

    @classmethod
    def parse(cls, header: str) -> Challenge:
        """Read the Bearer challenge of a header; an unreadable one says nothing."""
        _, found, rest = header.partition("Bearer") if "Bearer" in header else ("", "", "")
        if not found:
            return cls()
        values = {
            name.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
            for name, quoted, plain in _PARAMETER.findall(rest[:4000])
        }
        return cls(
            resource_metadata=values.get("resource_metadata", ""),
            scope=_scopes(values.get("scope", "").split()),
            error=values.get("error", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationServer:
    """What an authorization server says of itself; every endpoint has been checked."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    registration_endpoint: str = ""
    revocation_endpoint: str = ""
    scopes_supported: tuple[str, ...] = ()
    token_auth_methods: tuple[str, ...] = ("client_secret_basic",)
    client_id_documents: bool = False  # takes an address as client id (CIMD)
    sends_issuer: bool = False  # adds `iss` to its answers (RFC 9207)


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """Where the tokens for a server come from. `scopes` are those to ask for."""

    resource: str
    scopes: tuple[str, ...]
    server: AuthorizationServer


async def discover(
    http: OAuthHttp,
    *,
    server_url: str,
    challenge: Challenge,
    expected_issuer: str = "",
    scopes: tuple[str, ...] = (),
) -> Discovered:
    """Find the authorization server of an MCP server.

    1. The resource's metadata: where the challenge says, else at the well-known addresses. Its
       `resource` must be the server's address, or a prefix of its path on the same origin.
    2. The metadata of its first authorization server. The `issuer` must be equal letter for
       letter to the one that was asked for, or to `expected_issuer` where staff entered one.
    3. Scopes: `scopes` where staff entered some, else the challenge's, else the resource's;
       `offline_access` besides, where the authorization server lists it.

    Raises NotDiscoverable and Unreachable.
    """
    resource, issuers, listed = await _resource(http, server_url, challenge)
    issuer = expected_issuer or issuers[0]
    server = await _server(http, issuer)
    wanted = scopes or challenge.scope or listed
    if "offline_access" in server.scopes_supported and "offline_access" not in wanted:
        wanted = (*wanted, "offline_access")
    return Discovered(resource=resource, scopes=wanted, server=server)


async def _resource(
    http: OAuthHttp, server_url: str, challenge: Challenge
) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return the resource, its issuers and its scopes."""
    for url in _resource_addresses(server_url, challenge):
        answer = await http.get(url, what="The server's resource metadata")
        if answer.status == 200 and answer.document is not None:
            return _read_resource(answer.document, server_url)
    origin = "{}://{}".format(*urlsplit(server_url)[:2])
    # Servers of the specification of 2025-03-26 are their own authorization servers.
    return server_url, (origin,), ()


def _resource_addresses(server_url: str, challenge: Challenge) -> list[str]:
    if challenge.resource_metadata:
        return [challenge.resource_metadata]
    parts = urlsplit(server_url)
    root = f"{parts.scheme}://{parts.netloc}{RESOURCE_PATH}"
    path = parts.path.rstrip("/")
    return [f"{root}{path}", root] if path else [root]


def _read_resource(
    document: Mapping[str, Any], server_url: str
) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    resource = document.get("resource")
    if not isinstance(resource, str) or not is_for(resource, server_url):
        raise NotDiscoverable(
            "The server's resource metadata is for another resource than this server."
        )
    issuers = tuple(
        each for each in _texts(document.get("authorization_servers")) if 0 < len(each) <= 2000
    )
    if not issuers:
        raise NotDiscoverable("The server's resource metadata names no authorization server.")
    return resource, issuers, _scopes(_texts(document.get("scopes_supported")))


def is_for(resource: str, server_url: str) -> bool:
    """Tell whether a resource is a server's address, or a prefix of its path on its origin."""
    try:
        wanted, found = urlsplit(server_url), urlsplit(resource)
        same = WebAddress.of(server_url).origin == WebAddress.of(resource).origin
    except (ValueError, AddressRefused):
        return False
    if not same or found.query or found.fragment or "@" in found.netloc:
        return False
    prefix, path = found.path.rstrip("/"), wanted.path.rstrip("/")
    return path == prefix or path.startswith(f"{prefix}/")


async def _server(http: OAuthHttp, issuer: str) -> AuthorizationServer:
    http.check(issuer, what="The authorization server")
    for url in server_addresses(issuer):
        answer = await http.get(url, what="The authorization server's metadata")
        if answer.status == 200 and answer.document is not None:
            return _read_server(http, answer.document, issuer)
    raise NotDiscoverable("The authorization server publishes no metadata.")


def server_addresses(issuer: str) -> list[str]:
    """Return where the metadata of an issuer may be, in the order that MCP asks for."""
    parts = urlsplit(issuer)
    root, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    inserted = [f"{root}{SERVER_PATH}{path}", f"{root}{OPENID_PATH}{path}"]
    return [*inserted, f"{root}{path}{OPENID_PATH}"] if path else inserted


def _read_server(http: OAuthHttp, document: Mapping[str, Any], issuer: str) -> AuthorizationServer:
    if document.get("issuer") != issuer:
        raise NotDiscoverable(
            "The authorization server calls itself by another name than the one it was asked "
            f"for: {str(document.get('issuer'))[:200]!r} in place of {issuer[:200]!r}."
        )
    if "S256" not in _texts(document.get("code_challenge_methods_supported")):
        raise NotDiscoverable(
            "The authorization server does not say that it supports PKCE with S256."
        )
    grants = _texts(document.get("grant_types_supported"))
    if grants and "authorization_code" not in grants:
        raise NotDiscoverable("The authorization server offers no authorization code grant.")
    methods = _texts(document.get("token_endpoint_auth_methods_supported"))
    return AuthorizationServer(
        issuer=issuer,
        authorization_endpoint=_endpoint(http, document, "authorization_endpoint"),
        token_endpoint=_endpoint(http, document, "token_endpoint"),
        registration_endpoint=_endpoint(http, document, "registration_endpoint", optional=True),
        revocation_endpoint=_endpoint(http, document, "revocation_endpoint", optional=True),
        scopes_supported=_scopes(_texts(document.get("scopes_supported"))),
        token_auth_methods=tuple(methods) or ("client_secret_basic",),
        client_id_documents=document.get("client_id_metadata_document_supported") is True,
        sends_issuer=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _endpoint(
    http: OAuthHttp, document: Mapping[str, Any], name: str, *, optional: bool = False
) -> str:
    value = document.get(name)
    if optional and value in (None, ""):
        return ""
    if not isinstance(value, str):
        raise NotDiscoverable(f"The authorization server's metadata lacks {name}.")
    return http.check(value, what=f"The authorization server's {name}")


def _texts(value: Any) -> list[str]:
    found = value if isinstance(value, list) else []
    return [each for each in found if isinstance(each, str)]


def _scopes(found: list[str]) -> tuple[str, ...]:
    """Return scopes that can be sent (RFC 6749, 3.3), each once."""
    plain = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}\Z")
    return tuple(dict.fromkeys(each for each in found if plain.match(each)))[:MAX_SCOPES]
