"""A small load generator: so many connections, each asking again as soon as it is answered.

Reads one order, a JSON object on a line of standard input, and prints what it saw. Raw sockets on
asyncio, so that it takes as little as possible of the processor that it shares with the server.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import json
import re
import sys
import time
from typing import Any

LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, requests: itertools.cycle[bytes], seen: Seen) -> None:
        self._requests = requests
        self._seen = seen
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = LENGTH.search(head + b"\r\n")
        if len(body) < (int(length[1]) if length else 0):
            return
        self._received = b""
        if self._seen.note(head[9:12].decode(), time.perf_counter() - self._asked):
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._seen.closed()


class Seen:
    """Answers by status, and how long they took."""

    def __init__(self, *, seconds: float, connections: int) -> None:
        self.began = time.perf_counter()
        self._until = self.began + seconds
        self._open = connections
        self.over = asyncio.Event()
        self.statuses: collections.Counter[str] = collections.Counter()
        self.times: list[float] = []

    def note(self, status: str, taken: float) -> bool:
        """Count an answer; True while there is time for another."""
        self.statuses[status] += 1
        self.times.append(taken)
        return time.perf_counter() < self._until

    def closed(self) -> None:
        """One connection has ended."""
        self._open -= 1
        if not self._open:
            self.over.set()


def request(order: dict[str, Any], path: str) -> bytes:
    """Return the bytes of one request."""
    body = order["body"].encode()
    lines = [f"{order['method']} {path} HTTP/1.1", f"Host: {order['host']}"]
    lines += [f"{name}: {value}" for name, value in order["headers"].items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def main() -> None:
    """Carry out the order."""
    order = json.loads(sys.stdin.readline())
    requests = itertools.cycle([request(order, path) for path in order["paths"]])
    seen = Seen(seconds=order["seconds"], connections=order["connections"])
    loop = asyncio.get_running_loop()
    for _ in range(order["connections"]):
        await loop.create_connection(lambda: Client(requests, seen), order["host"], order["port"])
    await seen.over.wait()
    seconds = time.perf_counter() - seen.began
    times = sorted(seen.times)
    print(
        json.dumps(
            {
                "rate": len(times) / seconds,
                "p50": times[len(times) // 2],
                "p95": times[int(len(times) * 0.95)],
                "statuses": seen.statuses,
            }
        ),
        flush=True,
    )


asyncio.run(main())
