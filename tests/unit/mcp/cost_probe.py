"""A worker's loop under a hostile tool server: prints what it cost, as JSON.

Times are those of the loop's thread on a processor, which a busy machine does not lengthen.

Run as a process of its own: `python -m tests.unit.mcp.cost_probe HOSTILE HONEST`, two addresses.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from contextlib import suppress
from typing import Any

from agent_runtime.mcp.access import ServerAccess
from agent_runtime.mcp.toolset import CatalogueCache, McpTools
from agent_runtime.messages import CallState
from tests.support.tool_servers import AT_HOME, call, tool_named

CALLS = 20  # of the honest tenant, for each of its two times
TASKS = 4  # of the hostile one, at once, each with a credential of its own
ARGUMENTS: dict[str, Any] = {"a": [{"x": "y" * 400}] * 100, "b": "z" * 20_000}


def megabytes() -> float:
    """Return what this process holds in memory now."""
    with open("/proc/self/statm") as found:
        return int(found.read().split()[1]) * resource.getpagesize() / 1e6


def most_megabytes() -> float:
    """Return the most that this process ever held; `ru_maxrss` counts its parent's, too."""
    with open("/proc/self/status") as found:
        (line,) = (each for each in found if each.startswith("VmHWM"))
    return int(line.split()[1]) / 1e3


async def honest(url: str) -> float:
    """Return the seconds of one tenant's task: open, call, close."""
    access = ServerAccess(name="honest", url=url)
    tools = _tools(access, CatalogueCache())
    began = time.thread_time()
    await tools.open()
    for number in range(CALLS):
        found = await call(tools, "look", key=str(number))
        assert found.state is CallState.SUCCEEDED
    await tools.close()
    return time.thread_time() - began


async def hostile(url: str, number: int, cache: CatalogueCache) -> int:
    """List what the hostile server has, check arguments for each of its tools, call one."""
    access = ServerAccess(name="hostile", url=url, catalogue_key=f"hostile/{number}")
    tools = _tools(access, cache)
    await tools.open()
    for tool in tools.offered:
        tools.check(tool, ARGUMENTS)
        await asyncio.sleep(0)
    if tools.offered:
        await call(tools, tools.offered[0].tool, **ARGUMENTS)
        assert tool_named(tools, tools.offered[0].tool)
    offered = len(tools.offered)
    await tools.close()
    return offered


def _tools(access: ServerAccess, cache: CatalogueCache) -> McpTools:
    return McpTools(accesses=[access], guard=AT_HOME, call_timeout=60, catalogues=cache)


async def lag(found: list[float]) -> None:
    """Keep how late the loop came back."""
    while True:
        began = time.thread_time()
        await asyncio.sleep(0.005)
        found.append(time.thread_time() - began)


async def main(hostile_url: str, honest_url: str) -> None:
    """Measure the honest tenant alone and beside the hostile one."""
    await honest(honest_url)
    alone = await honest(honest_url)
    before = megabytes()
    late: list[float] = []
    measuring = asyncio.create_task(lag(late))
    cache = CatalogueCache()
    began = time.thread_time()
    attack = asyncio.gather(*(hostile(hostile_url, number, cache) for number in range(TASKS)))
    beside = []
    while not attack.done():
        beside.append(await honest(honest_url))
    offered = await attack
    lasted = time.thread_time() - began
    measuring.cancel()
    with suppress(asyncio.CancelledError):
        await measuring
    peak = most_megabytes()
    print(
        json.dumps(
            {
                "offered": offered,
                "alone": alone,
                "beside": max(beside),
                "lasted": lasted,
                "lag": max(late),
                "grown": peak - before,
                "kept": megabytes() - before,
                "cache": cache.weight,
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
