"""DBOS: a durable workflow for each task, a durable step for each model call and tool call."""

from __future__ import annotations

import asyncio
from typing import Any

import common
from dbos import DBOS, DBOSConfig

config: DBOSConfig = {
    "name": "bench",
    "system_database_url": common.DATABASE,
    "sys_db_pool_size": common.CONNECTIONS,
    "log_level": "ERROR",
    "enable_otlp": False,
}
DBOS(config=config)
shared: dict[str, Any] = {}
sessions: dict[str, Any] = {}


@DBOS.step()
async def model(messages: list[common.Message]) -> common.Message:
    """Ask the model; the answer is on disk when this returns."""
    return await common.ask(shared["http"], messages)


@DBOS.step()
async def call(message: common.Message, key: str) -> list[common.Message]:
    """Call the tool; its result is on disk when this returns."""
    return await common.call_tool(sessions[key], message)


@DBOS.workflow()
async def task(steps: int, tool: bool, delay: float) -> str:
    """One task, from its prompt to its report."""
    messages = common.opening(steps=steps, delay=delay)
    async with common.tool_session(tool) as client:
        key = DBOS.workflow_id or ""
        sessions[key] = client
        while True:
            message = await model(messages)
            messages.append(message)
            if not message.get("tool_calls"):
                sessions.pop(key)
                return str(message["content"])
            messages += await call(message, key) if tool else common.result_of(message)


async def main() -> None:
    """Set up, and obey."""
    DBOS.launch()
    async with common.client_session() as http:
        shared["http"] = http

        async def run(*, tasks: int, steps: int, tool: bool, delay: float) -> None:
            handles = await asyncio.gather(
                *(DBOS.start_workflow_async(task, steps, tool, delay) for _ in range(tasks))
            )
            await asyncio.gather(*(handle.get_result() for handle in handles))

        await common.obey(run)
    DBOS.destroy()


asyncio.run(main())
