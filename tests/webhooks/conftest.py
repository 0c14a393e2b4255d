"""The far end of a webhook: a receiver on a real socket, and a sender whose clock we hold."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from agent_runtime.net.address_guard import AddressGuard
from tasks_app.webhooks.sender import Sender
from tasks_app.worker.database import Database

LOOPBACK = AddressGuard.of(networks=["127.0.0.0/8"])
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


def answer(status: int, *headers: str) -> bytes:
    """An answer with an empty body."""
    lines = [f"HTTP/1.1 {status} Whatever", "content-length: 0", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """One request, as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes


Behave = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Receiver:
    """Keeps what it gets and gives the answers of its script, the last one again and again."""

    port: int = 0
    answers: list[bytes | Behave] = field(default_factory=lambda: [OK])
    got: list[Got] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request and answer it."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers["content-length"]))
        self.got.append(Got(path=head[0].split()[1], headers=headers, body=body))
        said = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        try:
            if isinstance(said, bytes):
                writer.write(said)
                await writer.drain()
            else:
                await said(writer)
        except OSError:
            pass  # the sender hung up
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


@asynccontextmanager
async def listening(receiver: Receiver) -> AsyncIterator[Receiver]:
    """Let a receiver listen; in the end wait until its sockets are closed."""
    serving: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.create_task(receiver.serve(reader, writer)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    yield receiver
    server.close()
    await server.wait_closed()
    await asyncio.gather(*serving)


@pytest.fixture
def database(transactional_db: None) -> Iterator[Database]:
    """The threads on which a worker talks to the database."""
    made = Database(threads=2)
    yield made
    made.close()
    made.join()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that takes everything."""
    async with listening(Receiver()) as made:
        yield made


class Clocked:
    """A sender that makes one round at the moment that it is told."""

    def __init__(self, database: Database) -> None:
        # Ahead, so that what a slow machine is yet to write is due; less than receivers bear.
        self.now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=1)
        self.sender = Sender(
            guard=LOOPBACK,
            run_unit=database.run,
            insist=database.run_with_retry,
            clock=lambda: self.now,
        )

    async def round(self, *, later: float = 0.0) -> int:
        """Let `later` seconds pass, send what is due and wait for the outcome."""
        self.now += datetime.timedelta(seconds=later)
        sent = await self.sender.claim_and_send()
        await self.sender.settled()
        return sent


@pytest.fixture
def clocked(database: Database) -> Clocked:
    """A sender whose clock stands still."""
    return Clocked(database)
