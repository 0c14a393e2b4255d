"""Asking an MCP server without a credential, for the challenge that says how to get one."""

from __future__ import annotations

import asyncio

import httpcore2

from agent_runtime.errors import AddressRefused
from agent_runtime.messages import encode
from agent_runtime.net.address_guard import AddressGuard, GuardedBackend
from agent_runtime.net.tls import tls_context
from agent_runtime.oauth.discovery import Challenge
from agent_runtime.oauth.errors import NotDiscoverable, Unreachable

SECONDS = 10.0
_INITIALIZE = encode(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "caylex-agent-tasks", "version": "1"},
        },
    }
)


async def challenge_of_server(url: str, *, guard: AddressGuard) -> Challenge:
    """Return what the server's 401 says; an empty challenge where it answers otherwise.

    Raises NotDiscoverable for an address that is refused, Unreachable for a fault.
    """
    headers = [
        (b"content-type", b"application/json"),
        (b"accept", b"application/json, text/event-stream"),
        (b"accept-encoding", b"identity"),
    ]
    try:
        async with asyncio.timeout(SECONDS), _pool(guard) as pool:
            async with pool.stream("POST", url, headers=headers, content=_INITIALIZE) as response:
                found = [v for k, v in response.headers if k.lower() == b"www-authenticate"]
                if response.status != 401:
                    return Challenge()
                return Challenge.parse(b", ".join(found).decode("latin-1"))
    except AddressRefused as refused:
        raise NotDiscoverable(f"The server cannot be used: {refused}") from None
    except (TimeoutError, httpcore2.TimeoutException, httpcore2.NetworkError):
        raise Unreachable("The server did not answer.") from None
    except httpcore2.ProtocolError:
        raise Unreachable("The server's answer was not HTTP.") from None


def _pool(guard: AddressGuard) -> httpcore2.AsyncConnectionPool:
    return httpcore2.AsyncConnectionPool(
        ssl_context=tls_context(),
        max_connections=1,
        max_keepalive_connections=0,
        network_backend=GuardedBackend(guard),
    )
