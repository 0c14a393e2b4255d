"""What a tool server can make a worker spend: memory, and the time of other tenants' tasks."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from tests.support.tool_servers import RawServer, texts
from tests.unit.mcp.byte_server import JSON, exactly, http, rpc

PAGE_BYTES = 3_900_000


def schemas(part: Any) -> bytes:
    """Return a page that is filled with tools whose schemas are filled with this part."""
    tools: list[dict[str, Any]] = []
    size = 0
    while size < PAGE_BYTES:
        properties: dict[str, Any] = {}
        while len(json.dumps(properties)) < 60_000:
            properties |= {f"p{len(properties)}_{i}": part(len(properties) + i) for i in range(100)}
        size += len(json.dumps(properties))
        schema = {"type": "object", "properties": properties}
        tools.append({"name": f"tool{len(tools)}", "inputSchema": schema})
    return http(200, rpc(result={"tools": tools[:-1]}), JSON)


def alternatives() -> bytes:
    """Return a page of tools with so many alternatives that an error about them is dear."""
    any_of = {"anyOf": [{"type": "object", "required": [f"r{i}"]} for i in range(1_400)]}
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": any_of}}}
    tools = [{"name": f"tool{i}", "inputSchema": {**schema, "title": str(i)}} for i in range(40)]
    return http(200, rpc(result={"tools": tools}), JSON)


HOSTILE = {
    "patterns": lambda: schemas(lambda i: {"pattern": f"(.{{100}}x){{2}}{i}"}),
    "classes": lambda: schemas(lambda i: {"pattern": rf"(?i)[\x{{{i + 1:x}}}-\x{{10FFFF}}]"}),
    "small properties": lambda: schemas(lambda i: {}),
    "alternatives": alternatives,
}


@pytest.mark.parametrize("page", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_dear_catalogue_costs_neither_memory_nor_other_tenants(page: Any) -> None:
    """The bounds are generous: before there were any, it was gigabytes and minutes."""
    async with RawServer().running() as hostile, RawServer().running() as honest:
        hostile.methods["tools/list"] = exactly(page())
        for number in range(100):
            hostile.calls[f"tool{number}"] = texts("done")
        honest.offer("look", texts("seen"), annotations={"readOnlyHint": True})
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.unit.mcp.cost_probe", hostile.url, honest.url),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(100):
                printed, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    found = json.loads(printed.splitlines()[-1])
    print(found)
    assert found["lag"] < 20 * found["alone"]
    assert found["beside"] < 100 * found["alone"]
    assert found["grown"] < 300
    assert found["kept"] < 200
    assert found["cache"] <= 64_000_000
