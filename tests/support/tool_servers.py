"""Tool servers for tests, over real sockets: a well-behaved one and a raw, scripted one."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp

from agent_runtime.mcp.access import ServerAccess
from agent_runtime.mcp.toolset import CatalogueCache, McpTools
from agent_runtime.messages import Call, CallState, Tool, ToolRequest, ToolResult
from agent_runtime.net.address_guard import AddressGuard

AT_HOME = AddressGuard.of(networks=("127.0.0.0/8",))
ANY_OBJECT: dict[str, Any] = {"type": "object"}


@asynccontextmanager
async def serving(app: ASGIApp, *, lifespan: bool = True) -> AsyncIterator[str]:
    """Serve an ASGI application on loopback; yields its `/mcp` address."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_config=None,
        ws="none",
        lifespan="auto" if lifespan else "off",
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        server.should_exit = server.force_exit = True
        await task


@asynccontextmanager
async def tools_of(
    *accesses: ServerAccess,
    timeout: float = 5.0,
    guard: AddressGuard = AT_HOME,
    catalogues: CatalogueCache | None = None,
) -> AsyncIterator[McpTools]:
    """The tools of one run, opened, and closed at the end."""
    tools = McpTools(
        accesses=accesses,
        guard=guard,
        call_timeout=timeout,
        catalogues=catalogues or CatalogueCache(),
    )
    try:
        await tools.open()
        yield tools
    finally:
        await tools.close()


def tool_named(tools: McpTools, name: str) -> Tool:
    """Return an offered tool by its server's name for it."""
    return next(each for each in tools.offered if each.tool == name)


async def call(
    tools: McpTools, name: str, /, key: str = "run-1/step-0/0", **arguments: Any
) -> ToolResult:
    """Call an offered tool by its server's name for it."""
    return await tools.call(a_call(tool_named(tools, name), key, arguments))


def a_call(tool: Tool, key: str, arguments: Mapping[str, Any]) -> Call:
    """Return a call as the loop would plan it."""
    request = ToolRequest(call_id="call_0", name=tool.name, arguments=json.dumps(arguments))
    return Call(
        key=key,
        index=0,
        request=request,
        arguments=arguments,
        tool=tool,
        state=CallState.STARTED,
    )


@dataclass(slots=True)
class Seen:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    rpc: dict[str, Any] = field(default_factory=dict)


Handler = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """Speaks just enough of the handshake protocol, and anything at all for a tool's call.

    `calls` says by tool name what is written for `tools/call`; `methods` the same for other
    JSON-RPC methods. One request a connection.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.tools: list[dict[str, Any]] = []
        self.calls: dict[str, Handler] = {}
        self.methods: dict[str, Handler] = {"initialize": initialize, "tools/list": self._list}
        self.written = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def offer(self, name: str, handler: Handler, **extra: Any) -> None:
        """Add a tool and what happens when it is called."""
        self.tools.append({"name": name, "inputSchema": ANY_OBJECT, **extra})
        self.calls[name] = handler

    def of_method(self, method: str) -> list[Seen]:
        """Return what arrived for one JSON-RPC method."""
        return [each for each in self.seen if each.rpc.get("method") == method]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                seen = await _read_request(reader)
                self.seen.append(seen)
                await self._answer(seen, writer)
                await writer.drain()
        except asyncio.CancelledError:
            pass  # the test is over; the stream's own callback would report it as an error
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        method = seen.rpc.get("method", "")
        if method == "tools/call":
            await self.calls[seen.rpc["params"]["name"]](seen, writer)
        elif method in self.methods:
            await self.methods[method](seen, writer)
        elif method.startswith("notifications/") or "result" in seen.rpc or "error" in seen.rpc:
            head(writer, 202, "Accepted")
        else:
            head(writer, 404, "Not Found")

    async def _list(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        answer(writer, seen, {"tools": self.tools})

    async def pour(self, writer: asyncio.StreamWriter, chunk: bytes, times: int) -> None:
        """Write a lot, counting what went out before the other side hung up."""
        for _ in range(times):
            writer.write(chunk)
            await writer.drain()
            self.written += len(chunk)


async def _read_request(reader: asyncio.StreamReader) -> Seen:
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = text.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method, target, headers, body, json.loads(body) if body else {})


def head(
    writer: asyncio.StreamWriter,
    status: int,
    reason: str,
    body: bytes | None = b"",
    **headers: str,
) -> None:
    """Write a response's head, and its body unless that is None (then it ends by closing)."""
    lines = [f"HTTP/1.1 {status} {reason}", "Connection: close"]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode() + (body or b""))


def answer(
    writer: asyncio.StreamWriter, seen: Seen, result: Mapping[str, Any], **headers: str
) -> None:
    """Write a JSON-RPC result."""
    body = json.dumps({"jsonrpc": "2.0", "id": seen.rpc["id"], "result": result}).encode()
    head(writer, 200, "OK", body, Content_Type="application/json", **headers)


async def initialize(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """Agree on the handshake protocol and hand out a session."""
    result = {
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "raw", "version": "0"},
    }
    answer(writer, seen, result, Mcp_Session_Id="session-1")


def texts(*parts: str) -> Handler:
    """Return a handler that answers with text parts."""

    async def handle(seen: Seen, writer: asyncio.StreamWriter) -> None:
        answer(writer, seen, {"content": [{"type": "text", "text": part} for part in parts]})

    return handle


def complete(text: str) -> Handler:
    """Return a handler that answers with one text part, fit for both protocols."""

    async def handle(seen: Seen, writer: asyncio.StreamWriter) -> None:
        content = [{"type": "text", "text": text}]
        answer(writer, seen, {"content": content, "resultType": "complete"})

    return handle


def status(code: int, body: bytes = b"", **headers: str) -> Handler:
    """Return a handler that answers with an HTTP status."""

    async def handle(_: Seen, writer: asyncio.StreamWriter) -> None:
        head(writer, code, "Status", body, **headers)

    return handle


def raw(body: bytes, **headers: str) -> Handler:
    """Return a handler that answers 200 with any body."""
    return status(200, body, **headers)


async def hang_up(_: Seen, writer: asyncio.StreamWriter) -> None:
    """Close the connection with no answer."""
    writer.close()
