"""The Tools port over MCP servers: Streamable HTTP, by the official SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from agent_runtime.mcp.access import ServerAccess
from agent_runtime.mcp.cache import CatalogueCache
from agent_runtime.mcp.catalogue import ListedTool
from agent_runtime.mcp.connection import Connection
from agent_runtime.mcp.naming import offered_names
from agent_runtime.messages import Call, CallState, Tool, ToolResult
from agent_runtime.net.address_guard import AddressGuard
from agent_runtime.net.scrubber import Scrubber
from agent_runtime.ports import ServerState

__all__ = ["CatalogueCache", "McpTools"]


class McpTools:
    """The tools of one run, for one user, on the servers of `accesses`.

    `call_timeout` is in seconds, for each whole call, tries included. `catalogues` belongs to
    the process. A server that fails costs its own tools, never the run.
    """

    def __init__(
        self,
        *,
        accesses: Sequence[ServerAccess],
        guard: AddressGuard,
        call_timeout: float,
        catalogues: CatalogueCache,
    ) -> None:
        self._bearers = [each.bearer for each in accesses if each.bearer is not None]
        scrubber = Scrubber(
            secrets=[s for access in accesses for s in _secrets(access)],
            renewed=lambda: [token for each in self._bearers for token in each.seen],
        )
        self._connections: dict[str, Connection] = {}
        for access in accesses:
            self._connections.setdefault(
                access.name,
                Connection(
                    access=access,
                    guard=guard,
                    call_timeout=call_timeout,
                    catalogues=catalogues,
                    scrubber=scrubber,
                ),
            )
        self._offered: tuple[Tool, ...] = ()
        self._by_name: dict[str, tuple[Connection, ListedTool]] = {}

    async def open(self) -> None:
        """List what each server has, side by side. Never raises for a server."""
        await asyncio.gather(*(each.open() for each in self._connections.values()))
        listed = {
            (server, name): (connection, tool)
            for server, connection in self._connections.items()
            for name, tool in connection.tools.items()
        }
        names = offered_names(tools=listed)
        self._by_name = {name: listed[pair] for name, pair in names.items()}
        self._offered = tuple(_offer(name, *self._by_name[name]) for name in sorted(self._by_name))

    @property
    def offered(self) -> Sequence[Tool]:
        """The tools that this user's agent may call, sorted by name."""
        return self._offered

    @property
    def servers(self) -> Sequence[ServerState]:
        """Each connected server and its state for this user, in the order given."""
        return [each.state for each in self._connections.values()]

    @property
    def notes(self) -> Mapping[str, Sequence[str]]:
        """What an operator should know of each server's list of tools, in safe sentences."""
        return {name: each.notes for name, each in self._connections.items()}

    def check(self, tool: Tool, arguments: Mapping[str, Any]) -> str | None:
        """Return what is wrong with the arguments by the tool's schema, or None."""
        found = self._by_name.get(tool.name)
        return found[1].checker.check(arguments) if found else None

    async def call(self, call: Call) -> ToolResult:
        """Send one call, with `call.key` as idempotency key, and return its result."""
        if call.tool is None or call.arguments is None:
            return _refusal("There is no such tool, or its arguments are not an object.")
        connection = self._connections.get(call.tool.server)
        if connection is None:
            return _refusal(f"The server {call.tool.server} is not connected.")
        if not connection.permits(call.tool.tool):
            return _refusal("This tool is not permitted.")
        listed = connection.tools.get(call.tool.tool)
        if listed is None:
            problem = connection.state.problem or "The server does not offer this tool."
            return _refusal(problem)
        return await connection.call(
            tool=listed.name,
            arguments=call.arguments,
            key=call.key,
            repeatable=call.tool.repeatable and _repeatable(connection, listed),
        )

    async def close(self) -> None:
        """End all sessions. Never raises."""
        await asyncio.gather(
            *(each.close() for each in self._connections.values()),
            *(each.close() for each in self._bearers),
        )


def _offer(name: str, connection: Connection, listed: ListedTool) -> Tool:
    return Tool(
        name=name,
        description=listed.description,
        schema=listed.checker.schema,
        server=connection.access.name,
        tool=listed.name,
        repeatable=_repeatable(connection, listed),
    )


def _repeatable(connection: Connection, listed: ListedTool) -> bool:
    return listed.repeatable or listed.name in connection.access.repeatable


def _refusal(sentence: str) -> ToolResult:
    return ToolResult(text=sentence, state=CallState.FAILED)


def _secrets(access: ServerAccess) -> list[str]:
    """Return everything of an access that no text may hold, prefixes like Bearer aside."""
    sent = [*access.headers.values(), *access.query.values(), *access.path.values()]
    return [*access.secrets, *sent, *(value.split(" ")[-1] for value in access.headers.values())]
