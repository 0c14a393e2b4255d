"""The tool server of a chaos run: does a thing for every call and hides no repetition.

    python -m tests.system.chaos.ledger --port 8901 --book calls.jsonl

It speaks just the part of MCP (Streamable HTTP, with the handshake) that a client needs. Every
call is booked with its idempotency key before anything else happens.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.system.chaos.jsonl_log import Book
from tests.system.chaos.scenario import REPEATABLE, result_of

SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string"}, "pause": {"type": "number"}},
    "required": ["label", "pause"],
    "additionalProperties": False,
}
TOOLS = [
    {
        "name": name,
        "description": f"Books the label ({name}).",
        "inputSchema": SCHEMA,
        **({"annotations": {"idempotentHint": True}} if repeatable else {}),
    }
    for name, repeatable in REPEATABLE.items()
]
WELCOME = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "ledger", "version": "1"},
}


class LedgerServer:
    """Answers the methods. Its book holds `tool`, `label`, `key` and `at` of each call."""

    def __init__(self, *, book: Book) -> None:
        self._book = book

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one message."""
        message = await request.json()
        match message.get("method", ""):
            case "initialize":
                result: dict[str, Any] = WELCOME
            case "tools/list":
                result = {"tools": TOOLS}
            case "tools/call":
                key = request.headers.get("idempotency-key", "")
                result = await self._call(message["params"], key)
            case method if method.startswith("notifications/"):
                return web.Response(status=202)
            case _:
                return web.Response(status=404)
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result})

    async def _call(self, parameters: dict[str, Any], key: str) -> dict[str, Any]:
        tool, given = parameters["name"], parameters["arguments"]
        self._book.write(tool=tool, label=given["label"], key=key, at=time.time())
        await asyncio.sleep(given["pause"])
        text = result_of(tool=tool, label=given["label"])
        return {"content": [{"type": "text", "text": text}], "isError": tool == "refuse"}


async def _refuse(_: web.Request) -> web.Response:
    """There is no stream to listen to, and no session to end."""
    return web.Response(status=405)


def main() -> None:
    """Serve on loopback until stopped."""
    parser = argparse.ArgumentParser(description="The ledger of a chaos run.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--book", type=Path, required=True)
    given = parser.parse_args()
    server = LedgerServer(book=Book(path=given.book))
    app = web.Application()
    app.router.add_post("/mcp", server.answer)
    app.router.add_route("*", "/mcp", _refuse)
    web.run_app(app, host="127.0.0.1", port=given.port, print=None, access_log=None)


if __name__ == "__main__":
    main()
