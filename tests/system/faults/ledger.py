"""The ledger of `tests.support.service`, with a repeatable tool and one that hangs beside it."""

from __future__ import annotations

import asyncio

from mcp.server.mcpserver import Context, MCPServer
from mcp.types import ToolAnnotations
from starlette.types import ASGIApp

from tests.support import service


class Ledger(service.Ledger):
    """`append` may not be sent twice, `put` may; `hang` never answers."""

    def _app(self) -> ASGIApp:
        server = MCPServer(name="ledger", log_level="WARNING")

        @server.tool(structured_output=False)
        async def append(text: str, ctx: Context) -> str:
            """Write a line into the ledger."""
            return await self._write(text, ctx)

        @server.tool(structured_output=False, annotations=ToolAnnotations(idempotent_hint=True))
        async def put(text: str, ctx: Context) -> str:
            """See to it that the ledger holds a line."""
            return await self._write(text, ctx)

        @server.tool(structured_output=False)
        async def hang(text: str, ctx: Context) -> str:
            """Write a line into the ledger and never say so."""
            await self._write(text, ctx)
            await asyncio.Event().wait()
            return "never"

        return server.streamable_http_app()

    async def _write(self, text: str, ctx: Context) -> str:
        self.entries.append(text)
        self.keys.append((ctx.headers or {}).get("idempotency-key", ""))
        await asyncio.sleep(self._pause)
        return f"written: {text}"
