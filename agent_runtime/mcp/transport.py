"""The HTTP side of one MCP session: credentials on, caps and checks, faults as values.

The SDK is given the address as it is stored. The credential joins the request here, right
before it leaves, so that no message, log line or error of the SDK can hold one. And no fault
of the network is raised into the SDK, where it would end the session and with it the other
calls: the answer is replaced by a JSON-RPC error, and the `Exchange` says what happened.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import httpcore2
import httpx2
from mcp.shared.inbound import MCP_METHOD_HEADER, mcp_param_headers

from agent_runtime.errors import AddressRefused, CredentialNeeded, RenewalFailed
from agent_runtime.mcp.access import ServerAccess
from agent_runtime.mcp.errors import Exchange, ResponseRejected, ToolServerFailure
from agent_runtime.mcp.handshake import ask_older, begins_with_endpoint, until_answered
from agent_runtime.mcp.jsonrpc import Envelope, for_sdk
from agent_runtime.mcp.response_checks import Body, Form, check_head, origin, read_answer
from agent_runtime.mcp.stream import EventStream
from agent_runtime.mcp.turns import turn
from agent_runtime.net.address_guard import AddressGuard, GuardedBackend
from agent_runtime.net.tls import tls_context
from agent_runtime.net.web_address import WebAddress

MAX_RESUMPTIONS = 10  # times in a session that a broken event stream is taken up again
MAX_EVENT_IDS = 1_000  # kept of a session, to know whose stream is taken up again
MAX_REPLIES = 50  # answers in a session to requests of the server
CONNECT_SECONDS = 5.0
NOTICE_SECONDS = 3.0  # for a notification or the session's end, which nobody waits for
KEEPALIVE_SECONDS = 2.0  # below the usual 5 of servers: a reused connection is rarely closing
MAX_CONNECTIONS = 10
UNAUTHORIZED = 401

ERROR_RESPONSE_CODE = -32603  # JSON-RPC: internal error
KEPT_HEADERS = ("mcp-session-id", "location", "set-cookie")
JSON = ("content-type", "application/json")
EVENTS = ("content-type", "text/event-stream")

NETWORK = (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError)
FAULTS = (*NETWORK, ResponseRejected, AddressRefused, CredentialNeeded, RenewalFailed, TimeoutError)

HeaderMaps = Mapping[str, Mapping[tuple[str, ...], str]]


def address_of(access: ServerAccess) -> WebAddress:
    """Return the real address: the template with the credential of kind path or query in it."""
    address = WebAddress.of(access.url)
    target = address.target
    for name, value in access.path.items():
        target = target.replace("{" + name + "}", quote(value, safe=""))
    if access.query:
        between = "" if target.endswith(("?", "&")) else "&" if "?" in target else "?"
        target += between + urlencode(dict(access.query), quote_via=quote, safe="")
    return dataclasses.replace(address, target=target)


def _sendable(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        if not (f"{name}{value}".isascii() and f"{name}{value}".isprintable()):
            raise CredentialNeeded("The credential holds characters that cannot be sent.")
    return headers


class CappedTransport(httpx2.AsyncBaseTransport):
    """The connections of one session, to one server, with one credential.

    `time_limit` is in seconds, for each whole answer. `exchanges` holds those who want to
    know, by idempotency key; `last` is the latest of the other requests. `header_maps` says by
    tool which arguments are sent as headers too (`x-mcp-header` of the 2026 protocol).
    """

    def __init__(self, *, access: ServerAccess, guard: AddressGuard, time_limit: float) -> None:
        self._headers = _sendable(access.headers)
        self._bearer = access.bearer
        self._template = httpx2.URL(access.url)
        self._address = address_of(access)
        self._time_limit = time_limit
        self._resumptions = 0
        self._replies = 0
        self._by_event: OrderedDict[bytes, tuple[Envelope, Exchange]] = OrderedDict()
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
        asked = Envelope.of(request.method, await request.aread())
        if (refused := self._refuse_unasked(request, asked)) is not None:
            return refused
        asked, exchange = self._whose(request, asked)
        response = await self._exchanged(request, asked, exchange)
        if asked.method == "initialize" and (response is None or exchange.error is not None):

            async def send(older: httpx2.Request) -> httpx2.Response | None:
                return await self._exchanged(older, asked, exchange)

            response = await ask_older(request, exchange, refused=response, send=send)
        return response or _error_response(request, asked, exchange.fault)

    async def speaks_old_transport(self) -> bool:
        """Ask whether the address is one of the HTTP+SSE transport of 2024-11-05."""
        request = httpx2.Request("GET", self._template, headers={"accept": EVENTS[1]})
        outgoing = self._outgoing(request, Envelope(), Exchange())
        try:
            async with asyncio.timeout(NOTICE_SECONDS):
                response = await self._pool.handle_async_request(outgoing)
                return await begins_with_endpoint(response)
        except (AddressRefused, TimeoutError, *NETWORK):
            return False

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    def _whose(self, request: httpx2.Request, asked: Envelope) -> tuple[Envelope, Exchange]:
        """Return what a request asks and who wants to know; for the rest of a stream: who did."""
        if request.method == "GET":
            last = request.headers.get("last-event-id", "").encode()
            return self._by_event.get(last, (asked, Exchange()))
        exchange = self.exchanges.get(asked.key)
        if exchange is None:
            exchange = Exchange()
            if asked.asks:
                self.last = exchange
        return asked, exchange

    def _refuse_unasked(self, request: httpx2.Request, asked: Envelope) -> httpx2.Response | None:
        """Answer here what a server could make us send without end.

        The stream of a server's own messages is not opened at all: it costs a connection a
        session, and all that it could tell is that a catalogue changed, which ages anyway.
        """
        if request.method == "GET":
            self._resumptions += 1
            if "last-event-id" not in request.headers or self._resumptions > MAX_RESUMPTIONS:
                return httpx2.Response(405)
        if request.method == "POST" and not asked.method:
            self._replies += 1
            if self._replies > MAX_REPLIES:
                return httpx2.Response(202)
        return None

    async def _exchanged(
        self, request: httpx2.Request, asked: Envelope, exchange: Exchange
    ) -> httpx2.Response | None:
        """Send one request and return its answer; None with the fault in the exchange.

        Whatever refuses to go on with a stream that broke, its request was carried out or not.
        """
        resuming = request.method == "GET"
        exchange.in_session = not resuming and "mcp-session-id" in request.headers
        limit = self._time_limit if asked.asks or resuming else NOTICE_SECONDS
        deadline = asyncio.get_running_loop().time() + limit
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._send(request, asked, exchange)
                return await self._checked(request, asked, exchange, response, deadline)
        except FAULTS as error:
            fault, detail = _fault_of(error, sent=exchange.sent)
            exchange.fault, exchange.detail = (
                (ToolServerFailure.DISCONNECTED, "") if resuming else (fault, detail)
            )
            if isinstance(error, httpcore2.LocalProtocolError):  # it cannot even be written
                exchange.sent = resuming
        return None

    async def _send(
        self, request: httpx2.Request, asked: Envelope, exchange: Exchange
    ) -> httpcore2.Response:
        """Send one request with its credential; after a 401 once more, with a newer token.

        A request that is answered with 401 was not carried out.
        """
        if self._bearer is None:
            return await self._pool.handle_async_request(self._outgoing(request, asked, exchange))
        token = await self._bearer.token()
        response = await self._send_token(token, request, asked, exchange)
        if response.status != UNAUTHORIZED:
            return response
        try:
            newer = await self._bearer.token(refused=token)
        except (CredentialNeeded, RenewalFailed):
            exchange.status = response.status
            await response.aclose()
            raise
        if newer == token:
            return response
        await response.aclose()
        return await self._send_token(newer, request, asked, exchange)

    async def _send_token(
        self, token: str, request: httpx2.Request, asked: Envelope, exchange: Exchange
    ) -> httpcore2.Response:
        exchange.sent = False
        outgoing = self._outgoing(request, asked, exchange)
        authorization = (b"authorization", b"Bearer " + token.encode("latin-1"))
        others = [each for each in outgoing.headers if each[0].lower() != authorization[0]]
        outgoing.headers = [*others, authorization]
        return await self._pool.handle_async_request(outgoing)

    def _outgoing(
        self, request: httpx2.Request, asked: Envelope, exchange: Exchange
    ) -> httpcore2.Request:
        if origin(request.url) != origin(self._template):
            raise ResponseRejected(ToolServerFailure.REDIRECT)
        address = self._address
        ours = request.url == self._template
        headers = httpx2.Headers(request.headers)
        headers["accept-encoding"] = "identity"
        if asked.key:
            headers["idempotency-key"] = asked.key
        mirrored = self.header_maps.get(asked.tool)
        if mirrored and MCP_METHOD_HEADER in headers:
            headers.update(mcp_param_headers(mirrored, asked.arguments or {}))
        headers.update(self._headers)

        async def trace(event: str, _: Mapping[str, Any]) -> None:
            if event.endswith("send_request_headers.started"):
                exchange.sent = True

        timeouts = {"connect": CONNECT_SECONDS, "pool": self._time_limit}
        return httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(
                scheme=address.scheme,
                host=address.host,
                port=address.port,
                target=address.target if ours else request.url.raw_path,
            ),
            headers=headers.raw,
            content=request.stream,
            extensions={"timeout": timeouts, "trace": trace},
        )

    async def _checked(
        self,
        request: httpx2.Request,
        asked: Envelope,
        exchange: Exchange,
        response: httpcore2.Response,
        deadline: float,
    ) -> httpx2.Response | None:
        """Return the answer as the SDK takes it. Raises ResponseRejected where it is none."""
        exchange.status = response.status
        headers = httpx2.Headers(response.headers)
        kept = [(name, headers[name]) for name in KEPT_HEADERS if name in headers]
        body = Body(response)
        try:
            check_head(request, response.status, headers)
            if not (asked.asks or request.method == "GET") or 300 <= response.status < 400:
                await body.close()
                return httpx2.Response(response.status, headers=kept)
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            form = await body.form(kind)
            if form is Form.EVENTS and response.status < 400:
                stream = EventStream(
                    body=body,
                    asked=asked,
                    exchange=exchange,
                    deadline=deadline,
                    at_event=lambda id: self._remember(id, asked, exchange),
                )
                if asked.method != "initialize":
                    return httpx2.Response(200, headers=[*kept, EVENTS], stream=stream)
                events = await until_answered(stream, exchange)
                if events is None:
                    return None
                return httpx2.Response(200, headers=[*kept, EVENTS], content=events)
            whole = await body.read()
            async with turn(size=len(whole)):
                answer = read_answer(whole, form, asked, exchange, headers)
                passed_on = for_sdk(asked, answer)
        except BaseException:
            await body.close()
            raise
        await body.close()
        exchange.take(error=answer.error, result=answer.result)
        return httpx2.Response(200, headers=[*kept, JSON], content=passed_on)

    def _remember(self, event_id: bytes, asked: Envelope, exchange: Exchange) -> None:
        self._by_event[event_id] = (asked, exchange)
        self._by_event.move_to_end(event_id)
        while len(self._by_event) > MAX_EVENT_IDS:
            self._by_event.popitem(last=False)


def _fault_of(error: Exception, *, sent: bool) -> tuple[ToolServerFailure, str]:
    """Return what an exception means for the request, and what the server said of it."""
    match error:
        case ResponseRejected():
            return error.fault, error.detail
        case AddressRefused():
            return ToolServerFailure.ADDRESS, ""
        case CredentialNeeded():
            return ToolServerFailure.ENDED, str(error)
        case RenewalFailed():
            return ToolServerFailure.RENEWAL, str(error)
        case TimeoutError():
            return ToolServerFailure.DEADLINE if sent else ToolServerFailure.UNREACHABLE, ""
        case httpcore2.LocalProtocolError():
            return ToolServerFailure.REJECTED, ""
    if isinstance(error, NETWORK):
        return ToolServerFailure.DISCONNECTED if sent else ToolServerFailure.UNREACHABLE, ""
    raise error


def _error_response(
    request: httpx2.Request, asked: Envelope, fault: ToolServerFailure | None
) -> httpx2.Response:
    """Return what the SDK gets for an answer that we do not have."""
    if request.method != "POST" or not asked.asks:
        return httpx2.Response(405)
    error = {"code": ERROR_RESPONSE_CODE, "message": f"No answer: {fault}."}
    body = {"jsonrpc": "2.0", "id": asked.request_id, "error": error}
    return httpx2.Response(500, json=body)
