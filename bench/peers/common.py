"""What the peers' scripts share. They run in environments without our packages.

A script reads orders from its standard input, a JSON object a line, and answers each with a
line: `{"tasks": 100, "steps": 10, "tool": false}` runs so many tasks side by side and gives
`{"seconds": …, "cpu": …, "rss": …}`: wall time, user and system time of the process, resident
bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp

MODEL_URL = os.environ["BENCH_SERVER"] + "/v1/chat/completions"
TOOL_URL = os.environ["BENCH_SERVER"] + "/mcp"
DATABASE = os.environ["BENCH_DATABASE"]
CONNECTIONS = int(os.environ.get("BENCH_CONNECTIONS", "30"))  # to the database
SYSTEM = "You are an agent. " * 60  # about as long as our own system prompt
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "echo",
            "description": "Gives back the number.",
            "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}},
        },
    }
]

Message = dict[str, Any]


def opening(*, steps: int, delay: float = 0.0) -> list[Message]:
    """Return the first messages of a task, with the script for the model in them."""
    script = f"[[steps={steps} ask=echo delay={delay}]]"
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": script}]


def body_of(messages: list[Message]) -> bytes:
    """Return the request's body."""
    body = {"model": "bench/model", "messages": messages, "tools": TOOLS}
    return json.dumps(body, separators=(",", ":")).encode()


async def ask(http: aiohttp.ClientSession, messages: list[Message]) -> Message:
    """Return the model's message."""
    headers = {"Content-Type": "application/json"}
    async with http.post(MODEL_URL, data=body_of(messages), headers=headers) as answer:
        message: Message = (await answer.json())["choices"][0]["message"]
        return message


def result_of(message: Message, text: str | None = None) -> list[Message]:
    """Return the result of the message's call, if it asks for one."""
    return [
        {"role": "tool", "tool_call_id": call["id"], "content": text or "Taken note of."}
        for call in message.get("tool_calls") or ()
    ]


@contextlib.asynccontextmanager
async def tool_session(wanted: bool) -> AsyncIterator[Any]:
    """Yield a session with the tool server, one for each task, as our tasks have; or None."""
    if not wanted:
        yield None
        return
    from mcp import Client

    async with Client(TOOL_URL, mode="legacy") as client:
        yield client


async def call_tool(client: Any, message: Message) -> list[Message]:
    """Send the message's call to the tool server and return its result."""
    call = message["tool_calls"][0]["function"]
    answer = await client.call_tool("echo", json.loads(call["arguments"]))
    return result_of(message, answer.content[0].text)


def client_session() -> aiohttp.ClientSession:
    """Return the one HTTP client of the process: the fastest that we know."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    )


def cpu_seconds() -> float:
    """Return the user and system time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_bytes() -> int:
    """Return what this process holds in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


async def obey(run: Callable[..., Awaitable[None]]) -> None:
    """Carry out orders until the input ends; `run(tasks=…, steps=…, tool=…, delay=…)` does one."""
    print(json.dumps({"ready": True}), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = {"tool": False, "delay": 0.0, **json.loads(line)}
        began, cpu = time.perf_counter(), cpu_seconds()
        await run(**order)
        figures = {
            "seconds": time.perf_counter() - began,
            "cpu": cpu_seconds() - cpu,
            "rss": resident_bytes(),
        }
        print(json.dumps(figures), flush=True)
