"""A model server that answers by a script, over real sockets, in a thread of its own.

    with ScriptedModel() as server:
        server.script(ask(("search", {"query": "printer"})), say("Nothing found."))
        ...  # point the service at server.base_url
        assert server.requests[0].json["model"] == "test/model"

Usable from synchronous and asynchronous tests, and from tests whose client is another process.
A policy that looks at the request is a function: `ScriptedModel(answer=lambda request: ...)`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Pause:
    """Send nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class UntilRequests:
    """Send nothing until so many requests have arrived in all."""

    count: int


@dataclass(frozen=True)
class Until:
    """Send nothing until the test says so."""

    word: threading.Event


@dataclass(frozen=True)
class Hold:
    """Send nothing until the client hangs up."""


@dataclass(frozen=True)
class Cut:
    """Close the connection here, in the middle of the answer."""


@dataclass(frozen=True)
class Repeat:
    """Send the same bytes so many times, without keeping them all in memory."""

    data: bytes
    times: int


Part = bytes | Pause | UntilRequests | Until | Hold | Cut | Repeat


@dataclass(frozen=True)
class Reply:
    """One scripted answer. `raw` means that the parts are the whole answer, head included.

    A status that has no body (204) has to be raw: bytes after it would spoil the connection.
    """

    parts: Sequence[Part] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bool = False


@dataclass(frozen=True)
class Recorded:
    """One request as it arrived. Header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def stream(*chunks: Mapping[str, Any] | Part, done: bool = True) -> Reply:
    """A streamed answer: each mapping is an event, everything else a part as it is."""
    parts: list[Part] = [event(each) if isinstance(each, Mapping) else each for each in chunks]
    if done:
        parts.append(b"data: [DONE]\n\n")
    return Reply(parts, headers={"Content-Type": "text/event-stream"})


def event(chunk: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def delta(_finish: str | None = None, /, **values: Any) -> dict[str, Any]:
    """One chunk of a stream, for the first choice."""
    choice = {"index": 0, "delta": values, "finish_reason": _finish}
    return {"id": "gen-1", "model": "test/model", "choices": [choice]}


USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def say(text: str, *, usage: Mapping[str, Any] = USAGE) -> Reply:
    """A streamed answer in words, in two pieces."""
    half = len(text) // 2
    return stream(
        delta(role="assistant", content=text[:half]),
        delta(content=text[half:]),
        delta("stop"),
        {"id": "gen-1", "model": "test/model", "choices": [], "usage": usage},
    )


def ask(*calls: tuple[str, Mapping[str, Any]], usage: Mapping[str, Any] = USAGE) -> Reply:
    """A streamed answer that asks for these tool calls, arguments in two pieces each."""
    chunks = []
    for index, (name, arguments) in enumerate(calls):
        text = json.dumps(arguments)
        head = {"name": name, "arguments": text[:3]}
        call = {"index": index, "id": f"call-{index}", "type": "function", "function": head}
        rest = {"index": index, "function": {"arguments": text[3:]}}
        chunks += [delta(tool_calls=[call]), delta(tool_calls=[rest])]
    last = {"id": "gen-1", "model": "test/model", "choices": [], "usage": usage}
    return stream(delta(role="assistant", content=None), *chunks, delta("tool_calls"), last)


def plain(body: Any, *, status: int = 200, **headers: str) -> Reply:
    """An answer that is not streamed. Header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply([json.dumps(body).encode()], status, {"Content-Type": "application/json", **named})


def completion(message: Mapping[str, Any], **other: Any) -> dict[str, Any]:
    """The body of a completion that is not streamed."""
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "gen-1", "model": "test/model", "choices": [choice], "usage": USAGE, **other}


class ScriptedModel:
    """The server. `models` answers who asks for the list of models, and is in no other list.

    `requests` holds what arrived, in order; `hung_up` is set when a client left
    before its answer was whole. When the script is used up, the answer is 599.
    """

    def __init__(self, *, answer: Callable[[Recorded], Reply] | None = None) -> None:
        self.requests: list[Recorded] = []
        self.models = plain({"error": {"message": "no list of models"}}, status=404)
        self.hung_up = threading.Event()
        self._answer = answer
        self._script: list[Reply] = []
        self._connections = 0
        self._loop = asyncio.new_event_loop()
        self._arrived = asyncio.Condition()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def script(self, *replies: Reply) -> None:
        """Answer the next requests by these, in this order."""
        self._script.extend(replies)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10), "the scripted server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the scripted server did not stop"

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=2_000)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        over = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.suppress(*over):
            while True:
                request = await _read_request(reader, number)
                if request.path.endswith("/models"):
                    await self._reply(self.models, reader, writer)
                    continue
                self.requests.append(request)
                async with self._arrived:
                    self._arrived.notify_all()
                if not await self._reply(self._next(request), reader, writer):
                    break
        writer.close()

    def _next(self, request: Recorded) -> Reply:
        if self._answer is not None:
            return self._answer(request)
        if self._script:
            return self._script.pop(0)
        return plain({"error": {"message": "the script is used up"}}, status=599)

    async def _reply(
        self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Send the reply; return False when the connection is over."""
        if not reply.raw:
            headers = {**reply.headers, "Transfer-Encoding": "chunked"}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"HTTP/1.1 {reply.status} Scripted\r\n{lines}\r\n".encode())
        try:
            for part in reply.parts:
                if not await self._send(part, reply, reader, writer):
                    return False
            if not reply.raw:
                writer.write(b"0\r\n\r\n")
            await writer.drain()
        except ConnectionError:
            self.hung_up.set()
            raise
        return not reply.raw

    async def _send(
        self, part: Part, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        match part:
            case bytes():
                _write(writer, part, reply.raw)
                await writer.drain()
            case Repeat():
                for _ in range(part.times):
                    _write(writer, part.data, reply.raw)
                    await writer.drain()
            case Pause():
                await asyncio.sleep(part.seconds)
            case UntilRequests():
                async with self._arrived:
                    await self._arrived.wait_for(lambda: len(self.requests) >= part.count)
            case Until():
                while not part.word.is_set():
                    await asyncio.sleep(0.01)
            case Hold():
                await reader.read(1)
                self.hung_up.set()
                return False
            case Cut():
                await writer.drain()
                return False
        return True


def _write(writer: asyncio.StreamWriter, data: bytes, raw: bool) -> None:
    if data:  # an empty chunk would end the answer
        writer.write(data if raw else b"%x\r\n%b\r\n" % (len(data), data))


async def _read_request(reader: asyncio.StreamReader, connection: int) -> Recorded:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = _headers(lines)
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Recorded(method, path, headers, body, connection)


def _headers(lines: Iterable[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
