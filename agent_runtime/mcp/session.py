"""One MCP session with one server, owned by one asyncio task."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import mcp_types as types
from mcp import Client, ClientSession, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types.version import LATEST_MODERN_VERSION, MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter

from agent_runtime.errors import AddressRefused, CredentialNeeded
from agent_runtime.mcp.access import ServerAccess
from agent_runtime.mcp.errors import Answered, Exchange, NoResponse, ToolServerFailure
from agent_runtime.mcp.response_checks import MAX_ANSWER_BYTES
from agent_runtime.mcp.transport import CappedTransport, HeaderMaps
from agent_runtime.net.address_guard import AddressGuard

CLIENT = types.Implementation(name="caylex-agent-tasks", version="1")
CLOSE_SECONDS = 4.0


# What the transport lets the SDK see of an answer; the result itself stays in the exchange.
_TOOL_ANSWER: TypeAdapter[Any] = TypeAdapter(types.CallToolResult)
_TOOL_LIST: TypeAdapter[Any] = TypeAdapter(types.ListToolsResult)

# The first words of the SDK's own errors, in place of an answer.
_SDK_WORDS = {
    "Failed to parse": ToolServerFailure.MALFORMED,
    "SSE stream": ToolServerFailure.DISCONNECTED,
    "Connection closed": ToolServerFailure.DISCONNECTED,
}

# The SDK logs what servers send, whole, and what we send to them.
for _name in ("mcp", "client", "httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolInfo:
    """Which protocol a server speaks: `discovered` is None for the one with a handshake."""

    discovered: types.DiscoverResult | None


@dataclass(slots=True, kw_only=True)
class _Job:
    request: types.ClientRequest
    adapter: TypeAdapter[Any]
    answer: asyncio.Future[Any]


class Session:
    """A session: `open` it, `call_tool` and `list_page` from any task, `close` it.

    1. `open` starts the owner task, which enters the SDK's contexts and agrees on a protocol
       (or takes `era` as known: then a modern server is not even asked).
    2. Requests reach the owner through a queue; it starts a task for each, so that they run
       side by side, and a request that is given up is cancelled there.
    3. `retire` lets what is running end, and nothing new begin.
    4. `close`, or the end of the connection, lets the owner leave the contexts in the task
       that entered them, as the SDK demands, and fails what was still waiting.
    """

    def __init__(
        self,
        *,
        access: ServerAccess,
        guard: AddressGuard,
        time_limit: float,
        era: ProtocolInfo | None,
    ) -> None:
        try:
            self._transport = CappedTransport(access=access, guard=guard, time_limit=time_limit)
        except AddressRefused:
            raise NoResponse(ToolServerFailure.ADDRESS) from None
        except CredentialNeeded:
            raise NoResponse(ToolServerFailure.CREDENTIAL) from None
        self._url = access.url
        self._era = era
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._running: set[asyncio.Task[None]] = set()
        self._opened: asyncio.Future[ProtocolInfo] = asyncio.get_running_loop().create_future()
        self._owner: asyncio.Task[None] | None = None
        self.retired = False

    @property
    def ended(self) -> bool:
        """True when the owner task is gone."""
        return self._owner is None or self._owner.done()

    async def open(self) -> ProtocolInfo:
        """Connect and return the protocol agreed on. Raises NoResponse."""
        self._owner = asyncio.create_task(self._own())
        self._owner.add_done_callback(_look_at)
        try:
            return await asyncio.shield(self._opened)
        except asyncio.CancelledError:
            self._owner.cancel()
            raise

    def expect_headers(self, header_maps: HeaderMaps) -> None:
        """Say which arguments of which tools go out as headers too."""
        self._transport.header_maps = header_maps

    async def list_page(self, *, cursor: str | None) -> Any:
        """Return one page of the server's tools, as received. Raises NoResponse or Answered."""
        request = types.ListToolsRequest(params=types.PaginatedRequestParams(cursor=cursor))
        self._transport.last = Exchange()
        return await self._ask(request, _TOOL_LIST, lambda: self._transport.last)

    async def call_tool(
        self, *, name: str, arguments: Mapping[str, Any], key: str, exchange: Exchange
    ) -> Any:
        """Call a tool and return its result as received.

        `exchange` tells how far the request got. Raises NoResponse, or Answered with the
        server's own error.
        """
        request = types.CallToolRequest(
            params=types.CallToolRequestParams(
                name=name, arguments=dict(arguments), _meta={"idempotencyKey": key}
            )
        )
        self._transport.exchanges[key] = exchange
        try:
            return await self._ask(request, _TOOL_ANSWER, lambda: exchange)
        finally:
            self._transport.exchanges.pop(key, None)

    async def speaks_old_transport(self) -> bool:
        """Ask whether the address is one of the transport before Streamable HTTP."""
        return await self._transport.speaks_old_transport()

    def retire(self) -> None:
        """Take no new requests; close when the running ones have ended."""
        self.retired = True
        if not self._running and self._jobs.empty():
            self._jobs.put_nowait(None)

    async def close(self) -> None:
        """End the session within CLOSE_SECONDS, politely if the server lets us."""
        self.retired = True
        if self._owner is not None:
            self._jobs.put_nowait(None)
            await asyncio.wait({self._owner}, timeout=CLOSE_SECONDS)
            self._owner.cancel()
            await asyncio.wait({self._owner}, timeout=1)

    async def _own(self) -> None:
        error = NoResponse(ToolServerFailure.DISCONNECTED)
        try:
            async with (
                httpx2.AsyncClient(transport=self._transport, trust_env=False) as http,
                self._client(http) as client,
            ):
                self._opened.set_result(ProtocolInfo(discovered=client.session.discover_result))
                await self._serve(client.session)
        except Exception as raised:  # noqa: BLE001  (the edge to the SDK, fed by a stranger)
            error = _reason(raised, self._transport.last)
        finally:
            self.retired = True
            self._fail_waiting(error)

    def _client(self, http: httpx2.AsyncClient) -> Client:
        transport = streamable_http_client(
            self._url, http_client=http, max_sse_event_size=2 * MAX_ANSWER_BYTES
        )
        mode, prior = "auto", None
        if self._era is not None:
            prior = self._era.discovered
            mode = "legacy" if prior is None else _agreed_version(prior)
        return Client(transport, mode=mode, prior_discover=prior, client_info=CLIENT, cache=None)

    async def _serve(self, session: ClientSession) -> None:
        try:
            while (job := await self._jobs.get()) is not None:
                task = asyncio.create_task(self._answer(session, job))
                self._running.add(task)
                task.add_done_callback(self._ended)
                job.answer.add_done_callback(functools.partial(_give_up, task))
        finally:
            for task in self._running:
                task.cancel()
            if self._running:
                await asyncio.wait(self._running, timeout=CLOSE_SECONDS)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self.retired and not self._running and self._jobs.empty():
            self._jobs.put_nowait(None)

    async def _answer(self, session: ClientSession, job: _Job) -> None:
        try:
            result = await session.send_request(job.request, job.adapter)
        except MCPError as error:
            _settle(job.answer, error)
        except Exception:  # noqa: BLE001  (the edge to the SDK, fed by a stranger)
            _settle(job.answer, NoResponse(ToolServerFailure.MALFORMED))
        else:
            if not job.answer.done():
                job.answer.set_result(result)
        finally:
            _settle(job.answer, NoResponse(ToolServerFailure.DISCONNECTED))

    async def _ask(
        self,
        request: types.ClientRequest,
        adapter: TypeAdapter[Any],
        exchange: Callable[[], Exchange],
    ) -> Any:
        """Send a request and return the result that its exchange holds afterwards."""
        if self.retired:
            raise NoResponse(ToolServerFailure.DISCONNECTED)
        waiting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait(_Job(request=request, adapter=adapter, answer=waiting))
        try:
            await waiting
        except (MCPError, NoResponse) as raised:
            if not exchange().answered:
                raise _reason(raised, exchange()) from None
        found = exchange()
        if found.error is not None:
            raise Answered(found.error)
        if not found.answered:
            raise NoResponse(ToolServerFailure.MALFORMED)
        return found.result

    def _fail_waiting(self, error: NoResponse) -> None:
        if not self._opened.done():
            self._opened.set_exception(error)
            self._opened.exception()  # seen: the opener may have been cancelled
        while not self._jobs.empty():
            job = self._jobs.get_nowait()
            if job is not None:
                _settle(job.answer, NoResponse(ToolServerFailure.DISCONNECTED))


def _look_at(owner: asyncio.Task[None]) -> None:
    """Take note of how the owner ended, so that a stranger's fault is no unhandled error."""
    if not owner.cancelled():
        owner.exception()


def _give_up(task: asyncio.Task[None], answer: asyncio.Future[Any]) -> None:
    if answer.cancelled():
        task.cancel()


def _settle(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


def _reason(raised: Exception, exchange: Exchange) -> NoResponse:
    """Return why there is no answer: what the transport saw, or what the SDK's own error means."""
    if exchange.fault is not None:
        return NoResponse(exchange.fault, exchange.detail)
    if exchange.error is not None:
        return NoResponse(ToolServerFailure.REJECTED, exchange.error.message)
    if isinstance(raised, NoResponse):
        return raised
    return NoResponse(_known_failure(raised) or ToolServerFailure.MALFORMED)


def _known_failure(error: Exception) -> ToolServerFailure | None:
    """Return what an error of the SDK's own making means."""
    if not isinstance(error, MCPError):
        return None
    if error.code == types.REQUEST_TIMEOUT and error.message.endswith("timed out"):
        return ToolServerFailure.DEADLINE
    for words, fault in _SDK_WORDS.items():
        if error.message.startswith(words):
            return fault
    return None


def _agreed_version(discovered: types.DiscoverResult) -> str:
    shared = [v for v in MODERN_PROTOCOL_VERSIONS if v in discovered.supported_versions]
    return shared[-1] if shared else LATEST_MODERN_VERSION
