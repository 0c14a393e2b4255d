"""Who waits for a thread, for how long, and who is sent away."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from caylex_project.web import lanes
from caylex_project.web.lanes import Busy, ClientGone, Lane


class Gate:
    """Work that lasts until it is let through."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.done: list[str] = []

    def pass_as(self, name: str) -> str:
        """Wait, and say who came through."""
        assert self.open.wait(30)
        self.done.append(name)
        return name


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that is open in the end."""
    made = Gate()
    yield made
    made.open.set()


def stays() -> bool:
    return False


def ask(
    lane: Lane,
    gate: Gate,
    name: str,
    *,
    patience: float = 30.0,
    gone: threading.Event | None = None,
) -> asyncio.Task[str]:
    return asyncio.create_task(
        lane.run(
            lambda: gate.pass_as(name),
            is_gone=stays if gone is None else gone.is_set,
            patience=patience,
        )
    )


async def test_they_are_served_in_their_order_and_no_more_at_once_than_there_are_threads(
    gate: Gate,
) -> None:
    lane = Lane("test", threads=1)
    tasks = [ask(lane, gate, name) for name in "abcd"]
    await asyncio.sleep(0.05)
    assert gate.done == []
    gate.open.set()

    assert await asyncio.gather(*tasks) == ["a", "b", "c", "d"]
    assert gate.done == ["a", "b", "c", "d"]


async def test_who_has_waited_too_long_is_sent_away_and_never_served(gate: Gate) -> None:
    lane = Lane("test", threads=1)
    first = ask(lane, gate, "first")
    await asyncio.sleep(0)
    late = ask(lane, gate, "late", patience=0.1)
    patient = ask(lane, gate, "patient")

    with pytest.raises(Busy) as busy:
        await late
    gate.open.set()

    assert not busy.value.in_outage
    assert list(await asyncio.gather(first, patient)) == ["first", "patient"]
    assert gate.done == ["first", "patient"]


async def test_while_the_database_does_not_answer_nobody_waits_for_long(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "WAIT_SECONDS_IN_OUTAGE", 0.1)
    lane = Lane("test", threads=1)
    first = ask(lane, gate, "first")
    await asyncio.sleep(0)
    second = ask(lane, gate, "second")
    lane.note(200)
    await asyncio.sleep(0.6)
    assert not second.done()

    lane.note(503)

    with pytest.raises(Busy) as busy:
        await second
    assert busy.value.in_outage
    gate.open.set()
    assert await first == "first"


async def test_a_client_that_left_while_it_waited_is_not_served(gate: Gate) -> None:
    lane = Lane("test", threads=1)
    gone = threading.Event()
    first = ask(lane, gate, "first")
    await asyncio.sleep(0)
    leaver, stayer = ask(lane, gate, "leaver", gone=gone), ask(lane, gate, "stayer")
    await asyncio.sleep(0)
    gone.set()
    gate.open.set()

    with pytest.raises(ClientGone):
        await leaver
    assert list(await asyncio.gather(first, stayer)) == ["first", "stayer"]
    assert gate.done == ["first", "stayer"]


async def test_no_more_wait_than_may(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MAX_WAITING", 2)
    lane = Lane("test", threads=1)
    tasks = [ask(lane, gate, name) for name in "abc"]
    await asyncio.sleep(0)

    with pytest.raises(Busy):
        await ask(lane, gate, "d")
    gate.open.set()

    assert await asyncio.gather(*tasks) == ["a", "b", "c"]


async def test_one_that_is_cancelled_or_fails_leaves_its_thread_to_the_next(gate: Gate) -> None:
    lane = Lane("test", threads=1)
    first = ask(lane, gate, "first")
    await asyncio.sleep(0)
    cancelled = ask(lane, gate, "cancelled")
    await asyncio.sleep(0)
    cancelled.cancel()
    gate.open.set()
    assert await first == "first"

    def fail() -> str:
        raise RuntimeError("broken")

    for _ in range(3):
        with pytest.raises(RuntimeError, match="broken"):
            await lane.run(fail, is_gone=stays)
    assert await ask(lane, gate, "last") == "last"
    assert gate.done == ["first", "last"]
