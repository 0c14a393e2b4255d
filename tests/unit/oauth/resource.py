"""An MCP server, by the official SDK, that takes the live tokens of an `Authority` alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from demo.tool_server import Notes, make_server
from tests.support.tool_servers import serving
from tests.unit.oauth.authority import Authority


@dataclass(kw_only=True)
class Resource:
    """The protected server: `seen` are the tokens that came, `url` its address."""

    authority: Authority
    app: ASGIApp
    url: str = ""
    refuses_all: bool = False
    seen: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 with a challenge, or let the request pass."""
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"").decode()
            token = given.removeprefix("Bearer ")
            self.seen.append(token)
            if self.refuses_all or token not in self.authority.access_tokens:
                where = f"{self.authority.base}/.well-known/oauth-protected-resource/mcp"
                challenge = f'Bearer resource_metadata="{where}"'.encode()
                headers = [(b"www-authenticate", challenge)]
                await send({"type": "http.response.start", "status": 401, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return
        await self.app(scope, receive, send)


@asynccontextmanager
async def a_resource(authority: Authority) -> AsyncIterator[Resource]:
    """Serve a protected MCP server on loopback; the authority's metadata describe it."""
    server = make_server(tokens=authority.access_tokens, notes=Notes(path=None))
    resource = Resource(authority=authority, app=server.streamable_http_app())
    async with serving(resource) as url:
        resource.url = url
        authority.resource["resource"] = url
        yield resource
