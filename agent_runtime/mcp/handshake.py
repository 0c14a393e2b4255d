"""The first request of a session, to servers that do not follow the rules for it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import httpcore2
import httpx2

from agent_runtime.mcp.errors import Exchange, ToolServerFailure
from agent_runtime.mcp.refusals import older_versions
from agent_runtime.mcp.response_checks import Body
from agent_runtime.mcp.sse import EVENT_END, parse_event
from agent_runtime.mcp.stream import EventStream

MAX_GREETING_BYTES = 4_000  # of a stream that may be the old transport's

Send = Callable[[httpx2.Request], Awaitable[httpx2.Response | None]]


async def ask_older(
    request: httpx2.Request, exchange: Exchange, *, refused: httpx2.Response | None, send: Send
) -> httpx2.Response | None:
    """Ask again with older versions of the protocol, where a server refused the newest.

    The protocol wants a server to answer with a version of its own; many answer with an error.
    `refused` is that answer, returned when it was for another reason.
    """
    body = json.loads(request.content)
    newest = body["params"]["protocolVersion"]
    words = f"{exchange.error.message} {exchange.error.data}" if exchange.error else ""
    versions = older_versions(words=f"{words} {exchange.detail}", asked=newest)
    if versions is None or exchange.fault not in (None, ToolServerFailure.REJECTED):
        return refused
    headers = httpx2.Headers(request.headers)
    del headers["content-length"]
    for version in versions:
        body["params"]["protocolVersion"] = version
        exchange.reset()
        answer = await send(httpx2.Request("POST", request.url, headers=headers, json=body))
        if answer is not None and exchange.error is None:
            return answer
        if exchange.fault not in (None, ToolServerFailure.REJECTED):
            return None
    exchange.fault, exchange.answered = ToolServerFailure.VERSION, False
    return None


async def until_answered(stream: EventStream, exchange: Exchange) -> bytes | None:
    """Return the events up to the answer, so that an error in them is known; None without one."""
    events = b""
    try:
        async for event in stream:
            events += event
            if exchange.answered:
                break
    except (httpx2.SSEError, httpx2.ReadError):
        return None  # the exchange says why
    finally:
        await stream.aclose()
    return events


async def begins_with_endpoint(response: httpcore2.Response) -> bool:
    """Tell whether a stream is one of the HTTP+SSE transport of 2024-11-05.

    Its first event names another address, for the messages.
    """
    body, seen = Body(response), b""
    try:
        async for chunk in body.stream():
            seen += chunk
            if EVENT_END.search(seen) or len(seen) > MAX_GREETING_BYTES:
                break
    finally:
        await body.close()
    event = parse_event(seen)
    return response.status == 200 and event.name == b"endpoint" and bool(event.data)
