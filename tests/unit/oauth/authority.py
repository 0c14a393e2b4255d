"""An authorization server and a protected MCP address, over real sockets, with faults to order."""

from __future__ import annotations

import asyncio
import secrets
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from agent_runtime.oauth.tokens import challenge_of
from tests.support.tool_servers import serving


@dataclass(kw_only=True)
class Authority:
    """Issues tokens as OAuth 2.1 asks; the fields order its faults.

    `base` is its address once it is served. `metadata` and `resource` are merged over what it
    would say; a value of None takes a key out. `answers` holds requests by path.
    """

    base: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    resource: dict[str, Any] = field(default_factory=dict)
    resource_metadata: str = "header"  # header, path, root, or nowhere
    scope_challenge: str = ""
    registers: bool = True
    rotates: bool = True
    expires_in: int | None = 3600
    answered_issuer: str = "own"  # in the redirect: own, none, or another text
    redirects: dict[str, str] = field(default_factory=dict)  # path to location
    raw: dict[str, bytes] = field(default_factory=dict)  # path to a body sent as it is
    forgets_clients: bool = False
    loses_next_answer: bool = False
    token_delay: float = 0.0
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    clients: dict[str, dict[str, Any]] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    refresh_tokens: dict[str, str] = field(default_factory=dict)  # token to its user
    access_tokens: dict[str, str] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        """Its own name."""
        return self.base

    @property
    def mcp(self) -> str:
        """The protected address."""
        return f"{self.base}/mcp"

    def app(self) -> Starlette:
        """Return the application."""
        return Starlette(
            routes=[
                Route("/.well-known/oauth-protected-resource{rest:path}", self._resource),
                Route("/.well-known/{kind}", self._metadata),
                Route("/authorize", self._authorize, methods=["GET", "POST"]),
                Route("/token", self._token, methods=["POST"]),
                Route("/register", self._register, methods=["POST"]),
                Route("/revoke", self._revoke, methods=["POST"]),
                Route("/mcp", self._mcp, methods=["GET", "POST"]),
            ]
        )

    def posts(self, path: str) -> list[dict[str, str]]:
        """Return the forms that were posted to a path."""
        return [form for at, form in self.requests if at == path]

    def _told(self, request: Request, form: dict[str, str] | None = None) -> Response | None:
        path = request.url.path
        self.requests.append((path, form or {}))
        if path in self.redirects:
            return RedirectResponse(self.redirects[path], status_code=302)
        if path in self.raw:
            return Response(self.raw[path], media_type="application/json")
        return None

    async def _resource(self, request: Request) -> Response:
        at_path = request.path_params["rest"] == "/mcp"
        ordered = self._told(request)
        if ordered is not None:
            return ordered
        if self.resource_metadata == "nowhere" or (self.resource_metadata == "root" and at_path):
            return JSONResponse({"error": "not_found"}, status_code=404)
        document = {
            "resource": self.mcp,
            "authorization_servers": [self.issuer],
            "scopes_supported": ["read", "write"],
            **self.resource,
        }
        return JSONResponse({k: v for k, v in document.items() if v is not None})

    async def _metadata(self, request: Request) -> Response:
        ordered = self._told(request)
        if ordered is not None:
            return ordered
        if request.path_params["kind"] != "oauth-authorization-server":
            return JSONResponse({}, status_code=404)
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.base}/authorize",
            "token_endpoint": f"{self.base}/token",
            "revocation_endpoint": f"{self.base}/revoke",
            "registration_endpoint": f"{self.base}/register" if self.registers else None,
            "code_challenge_methods_supported": ["S256"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "scopes_supported": ["read", "write", "offline_access"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "none"],
            "authorization_response_iss_parameter_supported": True,
            **self.metadata,
        }
        return JSONResponse({k: v for k, v in document.items() if v is not None})

    async def _register(self, request: Request) -> Response:
        self.requests.append(("/register", {}))
        document = await request.json()
        client_id = f"client-{len(self.clients)}"
        self.clients[client_id] = document
        return JSONResponse({**document, "client_id": client_id}, status_code=201)

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        ordered = self._told(request, asked)
        if ordered is not None:
            return ordered
        if request.method == "GET":
            return HTMLResponse(
                "<title>Consent</title><h1>Allow access?</h1><form method=post>"
                "<button name=user value=jane>Allow as jane</button>"
                "<button name=user value=joe>Allow as joe</button>"
                "<button name=user value=deny>Deny</button></form>"
            )
        user = str((await request.form()).get("user"))
        return RedirectResponse(self.answer_to(asked, user=user), status_code=302)

    def answer_to(self, asked: dict[str, str], *, user: str) -> str:
        """Return where the browser is sent after a user's decision."""
        back = {"state": asked["state"]}
        if self.answered_issuer != "none":
            back["iss"] = self.issuer if self.answered_issuer == "own" else self.answered_issuer
        if user == "deny":
            back["error"] = "access_denied"
        else:
            back["code"] = secrets.token_urlsafe(16)
            self.codes[back["code"]] = {**asked, "user": user}
        return f"{asked['redirect_uri']}?{urlencode(back)}"

    def consent(self, authorization_url: str, *, user: str = "jane") -> dict[str, str]:
        """Consent without a browser; returns the query of the redirect."""
        asked = {k: v[0] for k, v in parse_qs(urlsplit(authorization_url).query).items()}
        return {
            k: v[0] for k, v in parse_qs(urlsplit(self.answer_to(asked, user=user)).query).items()
        }

    async def _token(self, request: Request) -> Response:
        form = {k: str(v) for k, v in (await request.form()).items()}
        client_id = form.get("client_id", "")
        authorization = request.headers.get("authorization", "")
        if authorization.startswith("Basic "):
            pair = b64decode(authorization.removeprefix("Basic ")).decode()
            client_id = unquote(pair.partition(":")[0])
            form |= {"client_id": client_id, "basic_secret": unquote(pair.partition(":")[2])}
        ordered = self._told(request, form)
        if ordered is not None:
            return ordered
        await asyncio.sleep(self.token_delay)
        if self.forgets_clients:
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        grant = form.get("grant_type")
        user = self._redeem(form) if grant == "authorization_code" else self._renew(form)
        if user is None:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        document = self._issue(user, form)
        if self.loses_next_answer:
            self.loses_next_answer = False
            return JSONResponse({"error": "lost"}, status_code=502)
        return JSONResponse(document, headers={"cache-control": "no-store"})

    def _redeem(self, form: dict[str, str]) -> str | None:
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None or asked["code_challenge"] != challenge_of(form.get("code_verifier", "")):
            return None
        same = ("redirect_uri", "resource", "client_id")
        return asked["user"] if all(asked[name] == form.get(name) for name in same) else None

    def _renew(self, form: dict[str, str]) -> str | None:
        token = form.get("refresh_token", "")
        if not self.rotates:
            return self.refresh_tokens.get(token)
        return self.refresh_tokens.pop(token, None)

    def _issue(self, user: str, form: dict[str, str]) -> dict[str, Any]:
        access = f"at-{user}-{secrets.token_urlsafe(12)}"
        self.access_tokens[access] = user
        document: dict[str, Any] = {"access_token": access, "token_type": "Bearer", "scope": "read"}
        if self.expires_in is not None:
            document["expires_in"] = self.expires_in
        if self.rotates or form["grant_type"] == "authorization_code":
            refresh = f"rt-{user}-{secrets.token_urlsafe(12)}"
            self.refresh_tokens[refresh] = user
            document["refresh_token"] = refresh
        return document

    async def _revoke(self, request: Request) -> Response:
        form = {k: str(v) for k, v in (await request.form()).items()}
        self.requests.append(("/revoke", form))
        self.refresh_tokens.pop(form.get("token", ""), None)
        return Response(status_code=200)

    async def _mcp(self, request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token in self.access_tokens:
            return JSONResponse({"user": self.access_tokens[token]})
        challenge = "Bearer"
        if self.resource_metadata == "header":
            where = f"{self.base}/.well-known/oauth-protected-resource/mcp"
            challenge += f' resource_metadata="{where}"'
        if self.scope_challenge:
            challenge += f', scope="{self.scope_challenge}"'
        return Response(status_code=401, headers={"www-authenticate": challenge})


@asynccontextmanager
async def an_authority(**orders: Any) -> AsyncIterator[Authority]:
    """Serve an authority on loopback."""
    authority = Authority(**orders)
    async with serving(authority.app(), lifespan=False) as url:
        authority.base = url.removesuffix("/mcp")
        yield authority
