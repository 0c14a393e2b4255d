"""One fast process that plays the model and the tool server, by a script in the prompt.

    python -m bench.scripted_server            # prints the port that it listens on, then serves

Raw asyncio and as little parsing as will do, so that what is measured is the client.

The prompt of a task holds its script: `[[steps=10 ask=refused delay=0 log=0 id=7]]`. The turn is
told by the number of assistant messages in the transcript. All turns but the last ask for one
call of the tool `ask` (`words`: no call, the answer is cut off by length), with the number of
the turn as its argument; the last one answers in words. `delay` is in seconds before an answer.
With `log=1` the moment of each request is kept, by `id`, for `GET /log`.

`/v1/chat/completions` streams if asked to, `/mcp` speaks the MCP handshake and has one tool.
Times are of the monotonic clock, which is the same for all processes of a Linux machine.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import defaultdict
from functools import lru_cache
from typing import Any

SCRIPT = re.compile(rb"\[\[([a-z0-9_=. -]+)\]\]")
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
ASSISTANT = b'"assistant"'
REPORT = "All steps are done."
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
TOOL = {
    "name": "echo",
    "description": "Gives back the number.",
    "inputSchema": {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
    },
    "annotations": {"readOnlyHint": True},
}


@lru_cache(maxsize=20_000)
def script_of(text: bytes) -> dict[str, str]:
    """Return the script as names and values."""
    return dict(part.split("=", 1) for part in text.decode().split())


class Served:
    """What was asked so far."""

    def __init__(self) -> None:
        self.log: dict[str, list[float]] = defaultdict(list)
        self.requests = 0
        self.waiting = 0
        self.most_waiting = 0
        self.calls = 0

    def stats(self) -> dict[str, Any]:
        """Return the counts, and forget the peak."""
        peak, self.most_waiting = self.most_waiting, self.waiting
        return {
            "requests": self.requests,
            "calls": self.calls,
            "waiting": self.waiting,
            "most_waiting": peak,
        }


@lru_cache(maxsize=4_000)
def answer(turn: int, steps: int, ask: str, streamed: bool) -> bytes:
    """Return the whole HTTP answer for a turn, counted from 1."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    reason = "stop"
    if turn >= steps:
        message["content"] = REPORT
    elif ask == "words":
        message["content"], reason = f"part {turn} ", "length"
    else:
        reason = "tool_calls"
        function = {"name": ask, "arguments": json.dumps({"n": turn})}
        message["tool_calls"] = [{"id": f"call_{turn}", "type": "function", "function": function}]
    return _streamed(message, reason) if streamed else _whole(message, reason)


def _whole(message: dict[str, Any], reason: str) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return _json({**_head("chat.completion"), "choices": [choice], "usage": USAGE})


def _streamed(message: dict[str, Any], reason: str) -> bytes:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": message["content"] or ""}]
    for index, call in enumerate(message.get("tool_calls", ())):
        deltas.append({"tool_calls": [{"index": index, **call}]})
    head = _head("chat.completion.chunk")
    chunks = [
        {**head, "choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas
    ]
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    chunks.append({**head, "choices": [], "usage": USAGE})
    body = b"".join(b"data: " + _compact(chunk) + b"\n\n" for chunk in chunks)
    body += b"data: [DONE]\n\n"
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    )


def _head(kind: str) -> dict[str, Any]:
    return {"id": "gen-1", "object": kind, "created": 1, "model": "bench/model"}


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _json(value: Any, *, headers: bytes = b"", status: bytes = b"200 OK") -> bytes:
    body = _compact(value)
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b" % (
        status,
        headers,
        len(body),
        body,
    )


class Connection(asyncio.Protocol):
    """One client's connection; requests come one after the other."""

    def __init__(self, served: Served, loop: asyncio.AbstractEventLoop) -> None:
        self._served = served
        self._loop = loop
        self._received = bytearray()
        self._wanted = 0  # bytes of the request under way, 0 before its head is complete
        self._body_at = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while self._received:
            if not self._wanted:
                end = self._received.find(b"\r\n\r\n")
                if end < 0:
                    return
                found = LENGTH.search(self._received, 0, end + 2)
                self._body_at = end + 4
                self._wanted = self._body_at + (int(found[1]) if found else 0)
            if len(self._received) < self._wanted:
                return
            request = bytes(self._received[: self._wanted])
            del self._received[: self._wanted]
            self._wanted = 0
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        if request.startswith(b"POST /v1/chat/completions"):
            self._answer_model(request)
        elif request.startswith(b"POST /mcp"):
            self._send(self._answer_tool(json.loads(request[self._body_at :])))
        elif request.startswith(b"GET /log"):
            self._send(_json(self._served.log))
        elif request.startswith(b"GET /stats"):
            self._send(_json(self._served.stats()))
        elif request.startswith(b"DELETE /mcp"):
            self._send(_json({}))
        else:
            self._send(_json({}, status=b"405 Method Not Allowed"))

    def _answer_model(self, request: bytes) -> None:
        self._served.requests += 1
        found = SCRIPT.search(request, self._body_at)
        script = script_of(found[1]) if found else {}
        turn = request.count(ASSISTANT, self._body_at) + 1
        if script.get("log") == "1":
            self._served.log[script.get("id", "")].append(time.monotonic())
        reply = answer(
            turn,
            int(script.get("steps", 1)),
            script.get("ask", "words"),
            b'"stream":true' in request[-200:],
        )
        delay = float(script.get("delay", 0))
        if not delay:
            self._send(reply)
            return
        self._served.waiting += 1
        self._served.most_waiting = max(self._served.most_waiting, self._served.waiting)
        self._loop.call_later(delay, self._send_late, reply)

    def _send_late(self, reply: bytes) -> None:
        self._served.waiting -= 1
        self._send(reply)

    def _send(self, reply: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(reply)

    def _answer_tool(self, asked: dict[str, Any]) -> bytes:
        if "id" not in asked:
            return b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
        method, headers = asked["method"], b""
        answered: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
        if method == "tools/call":
            self._served.calls += 1
            n = asked["params"]["arguments"].get("n")
            answered["result"] = {"content": [{"type": "text", "text": f"{n}"}], "isError": False}
        elif method == "tools/list":
            answered["result"] = {"tools": [TOOL]}
        elif method == "initialize":
            headers = b"Mcp-Session-Id: bench\r\n"
            answered["result"] = {
                "protocolVersion": asked["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "bench", "version": "1"},
            }
        else:
            answered["error"] = {"code": -32601, "message": "Method not found"}
        return _json(answered, headers=headers)


async def serve() -> None:
    """Serve on loopback until killed."""
    served, loop = Served(), asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(served, loop), "127.0.0.1", 0, backlog=8192
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
