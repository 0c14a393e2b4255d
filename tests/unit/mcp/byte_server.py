"""A tool server that answers with exact bytes, so that a case is one row in a table.

A row holds the whole HTTP response. `$ID` in it stands for the id of the request, and
`$PORT` for the server's own port; the length of the body is written where it is not.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from tests.support.tool_servers import Handler, RawServer, Seen

JSON = "application/json"
EVENTS = "text/event-stream"
OK_TEXT = "the call was carried out"


def http(status: int, body: bytes | str, content_type: str = "", **headers: str) -> bytes:
    """Return a response with `body` as it is; an underscore in a header's name is a hyphen."""
    lines = [f"HTTP/1.1 {status} Status", "Connection: close"]
    lines += [f"Content-Type: {content_type}"] if content_type else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    text = body.encode() if isinstance(body, str) else body
    return "\r\n".join([*lines, "", ""]).encode() + text


def rpc(**message: Any) -> str:
    """Return a JSON-RPC message that answers the request, any field of it replaced."""
    found = {"jsonrpc": "2.0", "id": "$ID", **message}
    return json.dumps(found).replace('"$ID"', "$ID")


def result(value: Any) -> bytes:
    """Return a response with a JSON-RPC result."""
    return http(200, rpc(result=value), JSON)


def error(status: int, code: Any, message: Any, **more: Any) -> bytes:
    """Return a response with a JSON-RPC error, as servers write it for a request that they know."""
    return http(status, rpc(error={"code": code, "message": message, **more}), JSON)


def unread_error(status: int, code: int, message: str) -> bytes:
    """Return a response with a JSON-RPC error that names no request."""
    return http(status, rpc(id=None, error={"code": code, "message": message}), JSON)


def text_result(text: str) -> dict[str, Any]:
    """Return a result with one text part."""
    return {"content": [{"type": "text", "text": text}]}


def events(*data: str, name: str = "message", end: str = "\n") -> str:
    """Return an event stream of these data, with one of the three line ends."""
    return "".join(f"event: {name}{end}data: {each}{end}{end}" for each in data)


def exactly(response: bytes) -> Handler:
    """Return a handler that writes these bytes."""

    async def handle(seen: Seen, writer: asyncio.StreamWriter) -> None:
        head, _, body = response.partition(b"\r\n\r\n")
        port = str(writer.get_extra_info("sockname")[1]).encode()
        body = body.replace(b"$ID", json.dumps(seen.rpc.get("id")).encode())
        head, body = head.replace(b"$PORT", port), body.replace(b"$PORT", port)
        if b"content-length" not in head.lower() and b"transfer-encoding" not in head.lower():
            head += b"\r\nContent-Length: " + str(len(body)).encode()
        writer.write(head + b"\r\n\r\n" + body)

    return handle


class ForgetfulServer(RawServer):
    """Counts what it carries out, and forgets its sessions when told to.

    From then on a request of an old session is answered with `refusal` and not looked at.
    """

    def __init__(self, refusal: bytes, *, gives_ids: bool = True) -> None:
        super().__init__()
        self._refusal = exactly(refusal)
        self._gives_ids = gives_ids
        self._session = 0
        self._known: set[str] = set()
        self.carried_out = 0
        self.refused = 0
        self.methods["initialize"] = self._initialize
        self.offer("pay", self._pay)

    def forget(self) -> None:
        """Forget all sessions, as after a restart."""
        self._known.clear()

    async def _initialize(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        self._session += 1
        name = f"s{self._session}"
        self._known.add(name if self._gives_ids else "")
        headers = {"Mcp_Session_Id": name} if self._gives_ids else {}
        await exactly(http(200, rpc(result=GREETING), JSON, **headers))(seen, writer)

    async def _pay(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        self.carried_out += 1
        await exactly(result(text_result(OK_TEXT)))(seen, writer)

    async def _answer(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        asks = "id" in seen.rpc and seen.rpc.get("method") not in ("initialize", "server/discover")
        if asks and seen.headers.get("mcp-session-id", "") not in self._known:
            self.refused += 1
            await self._refusal(seen, writer)
        else:
            await super()._answer(seen, writer)


GREETING: Mapping[str, Any] = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "raw", "version": "0"},
}
