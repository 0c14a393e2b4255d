"""The floor: a loop that asks the model and commits one row a step, and does nothing else."""

from __future__ import annotations

import asyncio
import json
import uuid

import common
from psycopg_pool import AsyncConnectionPool

TABLE = """CREATE TABLE IF NOT EXISTS step (
  task uuid NOT NULL, index int NOT NULL, message jsonb NOT NULL, PRIMARY KEY (task, index))"""
INSERT = "INSERT INTO step (task, index, message) VALUES (%s, %s, %s::jsonb)"


async def main() -> None:
    """Set up, and obey."""
    async with (
        common.client_session() as http,
        AsyncConnectionPool(
            common.DATABASE, min_size=2, max_size=common.CONNECTIONS, kwargs={"autocommit": True}
        ) as pool,
    ):
        async with pool.connection() as connection:
            await connection.execute(TABLE)

        async def one(*, steps: int, tool: bool, delay: float) -> None:
            key, index = uuid.uuid4(), 0
            messages = common.opening(steps=steps, delay=delay)
            async with common.tool_session(tool) as client:
                while True:
                    message = await common.ask(http, messages)
                    messages.append(message)
                    index += 1
                    await commit(key, index, message)
                    if not message.get("tool_calls"):
                        return
                    if not tool:
                        messages += common.result_of(message)
                        continue
                    results = await common.call_tool(client, message)
                    messages += results
                    index += 1
                    await commit(key, index, results[0])

        async def commit(key: uuid.UUID, index: int, message: common.Message) -> None:
            async with pool.connection() as connection:
                await connection.execute(INSERT, (key, index, json.dumps(message)))

        async def run(*, tasks: int, steps: int, tool: bool, delay: float) -> None:
            await asyncio.gather(*(one(steps=steps, tool=tool, delay=delay) for _ in range(tasks)))

        await common.obey(run)


asyncio.run(main())
