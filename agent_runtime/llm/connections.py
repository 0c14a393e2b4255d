"""Connections to a model's server: httpx in front, aiohttp underneath.

httpx's own pool goes quadratic with open connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from typing import Any, cast
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from httpx_aiohttp import AiohttpTransport

from agent_runtime.net.tls import tls_context

STALE_CONNECTIONS = 3  # kept ones that turn out to be closed, in a row
DISCONNECT_ERRORS = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
_on_kept_connection: ContextVar[bool] = ContextVar("on_kept_connection", default=False)


class Connections:
    """The connections to one server; each event loop has its own, closed by `close` there."""

    def __init__(self) -> None:
        self._transports: WeakKeyDictionary[asyncio.AbstractEventLoop, AiohttpTransport] = (
            WeakKeyDictionary()
        )

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Return the answer's head. Raises httpx.HTTPError.

        A kept connection may have been closed by the other side just now (llama.cpp promises
        to keep them and does not). Such a send never counts as a try.
        """
        for _ in range(STALE_CONNECTIONS):
            try:
                return await self._transport().handle_async_request(request)
            except httpx.HTTPError as error:
                if not (
                    _on_kept_connection.get() and isinstance(error.__cause__, DISCONNECT_ERRORS)
                ):
                    raise
        return await self._transport().handle_async_request(request)

    async def close(self) -> None:
        """Close the connections of the running event loop. Calls in flight fail."""
        transport = self._transports.pop(asyncio.get_running_loop(), None)
        if transport is not None:
            await transport.aclose()

    def _transport(self) -> AiohttpTransport:
        """Return this loop's connections.

        No httpx client around them: no cookie, redirect, proxy or sign-in is wanted here, and
        the client's looking for them costs as much as half the transport.
        """
        loop = asyncio.get_running_loop()
        transport = self._transports.get(loop)
        if transport is None:
            transport = AiohttpTransport(verify=tls_context(), client=_session)
            self._transports[loop] = transport
        return transport


def chunks_of(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Return the bytes of an answer as they come, to be closed on the way out."""
    return cast("AsyncGenerator[bytes, None]", response.aiter_raw())


def sentence_of(error: Exception, *, stall_seconds: float) -> str:
    """Return what went wrong with a connection, in words that may be shown."""
    if isinstance(error, httpx.ReadTimeout):
        return f"The model provider sent nothing for {stall_seconds:g} seconds."
    cause = error.__cause__ or error
    if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return f"The model provider could not be reached ({type(cause).__name__})."
    return f"The connection to the model provider broke ({type(cause).__name__})."


class _Connector(aiohttp.TCPConnector):
    """Notes whether a request goes out on a connection that was kept from an earlier one.

    Tracing tells too, at the price of a tenth of each request.
    """

    def __init__(self) -> None:
        super().__init__(limit=0, ssl=tls_context())

    async def connect(self, *args: Any, **kwargs: Any) -> aiohttp.connector.Connection:
        _on_kept_connection.set(True)
        return await super().connect(*args, **kwargs)

    async def _create_connection(self, *args: Any, **kwargs: Any) -> ResponseHandler:
        _on_kept_connection.set(False)
        return await super()._create_connection(*args, **kwargs)


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=_Connector(), cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    )


def address_of(base_url: str) -> httpx.URL:
    """Return the address of chat completions. Raises ValueError for one that cannot be used."""
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        url = httpx.URL(f"{base_url.rstrip('/')}/chat/completions")
    except (httpx.InvalidURL, ValueError):
        usable = False
    if not usable or url.userinfo:
        raise ValueError("OPENROUTER_BASE_URL must be http(s)://host/path, without a user name.")
    return url


def headers_of(*, api_key: str, referer: str, title: str) -> dict[str, str]:
    """Return the headers of each request. Raises ValueError for a key that cannot be sent."""
    headers = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream, application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "caylex-agent-tasks",
    }
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    if referer:
        headers["HTTP-Referer"] = referer
    if title:
        headers["X-Title"] = title
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        raise ValueError("OPENROUTER_API_KEY holds characters that cannot be sent in a header.")
    return headers
