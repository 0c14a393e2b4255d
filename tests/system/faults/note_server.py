"""A server that writes notes into a file, run by a peer's own python. Imports nothing of ours.

    python note_server.py SDK PORT FILE

SDK is `fastmcp` (the package of that name), `mcp-2` or `mcp-1` (the SDK's own class for servers).
"""

import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def server_of(sdk: str, port: int) -> tuple[Any, Callable[[], None]]:
    """Return a server without tools, and what serves it on loopback until the process is ended."""
    if sdk == "fastmcp":
        server = importlib.import_module("fastmcp").FastMCP("notes")
        where: dict[str, Any] = {"host": "127.0.0.1", "port": port}
        return server, lambda: server.run(transport="http", show_banner=False, **where)
    if sdk == "mcp-2":
        server = importlib.import_module("mcp.server.mcpserver").MCPServer("notes")
        return server, lambda: server.run("streamable-http", host="127.0.0.1", port=port)
    fastmcp = importlib.import_module("mcp.server.fastmcp")
    server = fastmcp.FastMCP("notes", host="127.0.0.1", port=port)
    return server, lambda: server.run("streamable-http")


def main() -> None:
    """Serve until the process is ended."""
    sdk, port, notes = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    server, serve = server_of(sdk, port)

    def write(text: str) -> None:
        with notes.open("a") as file:
            file.write(f"{text}\n")

    @server.tool()
    def add(text: str) -> str:
        """Add a note."""
        write(text)
        return f"added: {text}"

    @server.tool()
    def add_and_die(text: str) -> str:
        """Add a note and end the server before it answers."""
        write(text)
        os.kill(os.getpid(), signal.SIGKILL)
        return "never"

    serve()


if __name__ == "__main__":
    main()
