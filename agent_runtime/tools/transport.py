"""The HTTP side of one MCP session: credentials on, caps and checks, faults as values.

The SDK is given the address as it is stored. The credential joins the request here, right
before it leaves, so that no message, log line or error of the SDK can hold one. And no fault
of the network is raised into the SDK, where it would end the session and with it the other
calls: the answer is replaced by a JSON-RPC error, and the `Exchange` says what happened.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpcore2
import httpx2
from mcp.shared.inbound import MCP_METHOD_HEADER, mcp_param_headers

from agent_runtime.errors import AddressRefused, CredentialNeeded
from agent_runtime.net import AddressGuard, GuardedBackend
from agent_runtime.tls import tls_context as tls_context  # and from here to webhooks
from agent_runtime.tools.access import ServerAccess
from agent_runtime.tools.answers import (
    CappedStream,
    Refused,
    check_body,
    check_head,
    origin,
    read_body,
)
from agent_runtime.tools.faults import Exchange, Fault

MAX_RESUMPTIONS = 10  # times in a session that a broken event stream is taken up again
MAX_REPLIES = 50  # answers in a session to requests of the server
CONNECT_SECONDS = 5.0
NOTICE_SECONDS = 3.0  # for a notification or the session's end, which nobody waits for
KEEPALIVE_SECONDS = 2.0  # below the usual 5 of servers: a reused connection is rarely closing
MAX_CONNECTIONS = 10

STAND_IN_CODE = -32603  # JSON-RPC: internal error
KEPT_HEADERS = ("content-type", "mcp-session-id", "location", "set-cookie")

HeaderMaps = Mapping[str, Mapping[tuple[str, ...], str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Envelope:
    """What the transport has to know of a JSON-RPC message that goes out."""

    request_id: Any = None
    method: str = ""
    tool: str = ""
    arguments: Mapping[str, Any] | None = None
    key: str = ""

    @classmethod
    def of(cls, http_method: str, content: bytes) -> _Envelope:
        if http_method != "POST":
            return cls()
        body = json.loads(content)
        params = body.get("params") or {}
        return cls(
            request_id=body.get("id"),
            method=body.get("method", ""),
            tool=params.get("name", ""),
            arguments=params.get("arguments"),
            key=(params.get("_meta") or {}).get("idempotencyKey", ""),
        )


def address_of(access: ServerAccess) -> httpx2.URL:
    """Return the real address: the template with the credential of kind path or query in it."""
    text = access.url
    for name, value in access.path.items():
        text = text.replace("{" + name + "}", quote(value, safe=""))
    url, template = httpx2.URL(text), httpx2.URL(access.url)
    if origin(url) != origin(template):
        raise AddressRefused("The credential's place in the address must be in its path.")
    return url.copy_merge_params(dict(access.query)) if access.query else url


def _sendable(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        if not (f"{name}{value}".isascii() and f"{name}{value}".isprintable()):
            raise CredentialNeeded("The credential holds characters that cannot be sent.")
    return headers


class CappedTransport(httpx2.AsyncBaseTransport):
    """The connections of one session, to one server, with one credential.

    `time_limit` is in seconds, for each whole answer. `exchanges` holds those who want to
    know, by idempotency key; `last` is the latest of the others. `header_maps` says by tool
    which arguments are sent as headers too (`x-mcp-header` of the 2026 protocol).
    """

    def __init__(self, *, access: ServerAccess, guard: AddressGuard, time_limit: float) -> None:
        self._headers = _sendable(access.headers)
        self._template = httpx2.URL(access.url)
        self._address = address_of(access)
        self._time_limit = time_limit
        self._resumptions = 0
        self._replies = 0
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls_context(),
            max_connections=MAX_CONNECTIONS,
            keepalive_expiry=KEEPALIVE_SECONDS,
            network_backend=GuardedBackend(guard),
        )
        self.exchanges: dict[str, Exchange] = {}
        self.last = Exchange()
        self.header_maps: HeaderMaps = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request and return its answer, or a stand-in that says there is none."""
        envelope = _Envelope.of(request.method, await request.aread())
        exchange = self.exchanges.get(envelope.key)
        if exchange is None:
            exchange = self.last = Exchange()
        if (refused := self._refuse_unasked(request, envelope)) is not None:
            return refused
        waits = envelope.request_id is not None and envelope.method
        limit = self._time_limit if waits or request.method == "GET" else NOTICE_SECONDS
        deadline = asyncio.get_running_loop().time() + limit
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._pool.handle_async_request(
                    self._outgoing(request, envelope, exchange)
                )
                return await self._checked(request, envelope, exchange, response, deadline)
        except Refused as refusal:
            exchange.fault = refusal.fault
        except AddressRefused:
            exchange.fault = Fault.ADDRESS
        except TimeoutError:
            exchange.fault = Fault.DEADLINE if exchange.sent else Fault.UNREACHABLE
        except httpcore2.LocalProtocolError:  # our own request cannot be written
            exchange.sent, exchange.fault = False, Fault.REJECTED
        except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError):
            exchange.fault = Fault.CUT if exchange.sent else Fault.UNREACHABLE
        return _stand_in(envelope, exchange.fault)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    def _refuse_unasked(
        self, request: httpx2.Request, envelope: _Envelope
    ) -> httpx2.Response | None:
        """Answer here what a server could make us send without end.

        The stream of a server's own messages is not opened at all: it costs a connection a
        session, and all that it could tell is that a catalogue changed, which ages anyway.
        """
        if request.method == "GET":
            self._resumptions += 1
            if "last-event-id" not in request.headers or self._resumptions > MAX_RESUMPTIONS:
                return httpx2.Response(405)
        if request.method == "POST" and not envelope.method:
            self._replies += 1
            if self._replies > MAX_REPLIES:
                return httpx2.Response(202)
        return None

    def _outgoing(
        self, request: httpx2.Request, envelope: _Envelope, exchange: Exchange
    ) -> httpcore2.Request:
        url = self._address if request.url == self._template else request.url
        if origin(url) != origin(self._address):
            raise Refused(Fault.REDIRECT)
        headers = httpx2.Headers(request.headers)
        headers["accept-encoding"] = "identity"
        if envelope.key:
            headers["idempotency-key"] = envelope.key
        mirrored = self.header_maps.get(envelope.tool)
        if mirrored and MCP_METHOD_HEADER in headers:
            headers.update(mcp_param_headers(mirrored, envelope.arguments or {}))
        headers.update(self._headers)

        async def trace(event: str, _: Mapping[str, Any]) -> None:
            if event.endswith("send_request_headers.started"):
                exchange.sent = True

        timeouts = {"connect": CONNECT_SECONDS, "pool": self._time_limit}
        return httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=headers.raw,
            content=request.stream,
            extensions={"timeout": timeouts, "trace": trace},
        )

    async def _checked(
        self,
        request: httpx2.Request,
        envelope: _Envelope,
        exchange: Exchange,
        response: httpcore2.Response,
        deadline: float,
    ) -> httpx2.Response:
        """Return the answer if it is one: small, plain, from this origin, in the protocol."""
        exchange.status = response.status
        headers = httpx2.Headers(response.headers)
        kept = [(name, headers[name]) for name in KEPT_HEADERS if name in headers]
        try:
            check_head(request, response.status, headers)
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            asked = envelope.request_id is not None or request.method == "GET"
            if asked and kind == "text/event-stream" and response.status < 300:
                stream = CappedStream(response, exchange, deadline)
                return httpx2.Response(response.status, headers=kept, stream=stream)
            body = b""
            if envelope.request_id is not None and not 300 <= response.status < 400:
                body = await read_body(response)
                check_body(request, response.status, kind, body)
        except BaseException:
            await response.aclose()
            raise
        await response.aclose()
        return httpx2.Response(response.status, headers=kept, content=body)


def _stand_in(envelope: _Envelope, fault: Fault | None) -> httpx2.Response:
    """Return what the SDK gets for an answer that we do not have."""
    if envelope.request_id is None or not envelope.method:
        return httpx2.Response(405)
    error = {"code": STAND_IN_CODE, "message": f"No answer: {fault}."}
    body = {"jsonrpc": "2.0", "id": envelope.request_id, "error": error}
    return httpx2.Response(500, json=body)
