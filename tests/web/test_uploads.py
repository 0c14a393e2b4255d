"""Bodies in memory: each within its time, all within one budget."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from caylex_project.web.request_bodies import BodyTooLarge, BodyTooSlow, NoRoom, Receive, Uploads


def sender(*parts: bytes, ends: bool = True) -> Receive:
    """Send the parts; then nothing more, unless that was all."""
    left = list(parts)

    async def receive() -> Mapping[str, Any]:
        if not left:
            await asyncio.sleep(3600)
        part = left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(left) or not ends}

    return receive


async def test_a_body_is_read_whole() -> None:
    async with Uploads().body(sender(b"ab", b"", b"c")) as body:
        assert body == b"abc"


async def test_one_that_is_too_large_ends_with_the_byte_that_is_too_many() -> None:
    uploads = Uploads(largest=4)
    async with uploads.body(sender(b"ab", b"cd")) as body:
        assert body == b"abcd"
    with pytest.raises(BodyTooLarge):
        async with uploads.body(sender(b"ab", b"cde", ends=False)):
            pass


async def test_one_that_is_not_complete_in_time_is_given_up() -> None:
    with pytest.raises(BodyTooSlow):
        async with Uploads(seconds=0.05).body(sender(b"ab", ends=False)):
            pass


async def test_where_all_exceed_the_budget_the_oldest_unfinished_gives_way() -> None:
    uploads = Uploads(most=10, seconds=30)

    async def read(receive: Receive) -> bytes | None:
        async with uploads.body(receive) as body:
            return body

    oldest = asyncio.create_task(read(sender(b"x" * 6, ends=False)))
    second = asyncio.create_task(read(sender(b"y" * 3, ends=False)))
    await asyncio.sleep(0.01)

    assert await read(sender(b"z" * 4)) == b"z" * 4

    with pytest.raises(NoRoom):
        await oldest
    assert not second.done()
    assert await read(sender(b"z" * 7)) == b"z" * 7
    second.cancel()


async def test_bodies_that_are_being_answered_count_and_give_no_way() -> None:
    uploads = Uploads(most=10)
    async with uploads.body(sender(b"x" * 8)) as body:
        with pytest.raises(NoRoom):
            async with uploads.body(sender(b"y", b"y" * 3, b"y")):
                pass
        assert body == b"x" * 8
    async with uploads.body(sender(b"y" * 9, b"y")) as body:
        assert body == b"y" * 10
