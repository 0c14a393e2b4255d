"""The adapter against a server that is not ours: the protocol's own test server."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent_runtime.mcp.access import ServerAccess
from agent_runtime.mcp.toolset import CatalogueCache
from agent_runtime.messages import CallState
from tests.support.tool_servers import call, tool_named, tools_of

pytestmark = pytest.mark.peer
SCRIPT = "node_modules/@modelcontextprotocol/server-everything/dist/index.js"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.fixture
async def everything() -> AsyncIterator[str]:
    folder = os.environ.get("CAYLEX_PEERS")
    node = shutil.which("node")
    if not folder or not (Path(folder) / SCRIPT).exists():
        pytest.skip("peers NOT RUN: run `make install-peers` and set CAYLEX_PEERS to its folder")
    if node is None:
        pytest.skip("peers NOT RUN: there is no node on this machine")
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        node,
        str(Path(folder) / SCRIPT),
        "streamableHttp",
        env={"PATH": os.environ["PATH"], "PORT": str(port)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30):
            while not await _answers(port):
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        await process.wait()


async def test_the_protocols_own_test_server_works_from_listing_to_ending(everything: str) -> None:
    cache = CatalogueCache()
    access = ServerAccess(name="everything", url=everything, catalogue_key="everything")
    for _ in range(2):
        async with tools_of(access, timeout=20, catalogues=cache) as tools:
            assert [each.problem for each in tools.servers] == [""]
            assert "everything__echo" in [each.name for each in tools.offered]
            assert tools.check(tool_named(tools, "echo"), {}) is not None
            echoed, image, summed = await asyncio.gather(
                call(tools, "echo", key="a", message="hello"),
                call(tools, "get-tiny-image", key="b"),
                call(tools, "get-sum", key="c", a=2, b=40),
            )
        assert echoed.state is CallState.SUCCEEDED
        assert echoed.text.endswith("\nEcho: hello")
        assert "[image, image/png, " in image.text
        assert "42" in summed.text


async def test_a_long_tool_of_the_test_server_ends_at_our_deadline(everything: str) -> None:
    access = ServerAccess(name="everything", url=everything)
    async with tools_of(access, timeout=3) as tools:
        slow = await call(tools, "trigger-long-running-operation", key="a", duration=60, steps=60)
        assert slow.failed
        assert "it did not answer in time" in slow.text
        assert (await call(tools, "echo", key="b", message="still here")).text.endswith(
            "still here"
        )
