"""Reading an answer off the wire: capped, whole or as a stream of events."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

from agent_runtime.errors import ModelUnavailable
from agent_runtime.llm.stream import MAX_ANSWER_BYTES, EventReader, StreamedCompletion, TooLong
from agent_runtime.llm.wire import error_in

DRAIN_SECONDS = 0.2  # to see a stream's end after its last event, so that the connection is kept
# A stream spends some hundred bytes on each token: the cap on what is read is wider than the
# cap on what is kept.
MAX_WIRE_BYTES = 16 * MAX_ANSWER_BYTES

_DECODER = json.JSONDecoder(parse_constant=lambda _: None)  # loads() would make one each time

CUT = "The model provider's answer was cut off."
TOO_LONG = "The model provider's answer is larger than any answer may be."


async def read_some(chunks: AsyncIterator[bytes], *, most: int) -> bytes:
    """Return the first `most` bytes of an answer, or all of a shorter one."""
    received = bytearray()
    async for chunk in chunks:
        received += chunk
        if len(received) > most:
            break
    return bytes(received[:most])


async def read_whole(chunks: AsyncIterator[bytes]) -> dict[str, Any]:
    """Return the completion, or the error object, that a plain JSON answer holds.

    Raises ModelUnavailable when it is too long; ValueError or RecursionError when garbled.
    """
    received = await read_some(chunks, most=MAX_ANSWER_BYTES + 1)
    if len(received) > MAX_ANSWER_BYTES:
        raise ModelUnavailable(TOO_LONG)
    return parse(received)


async def read_stream(chunks: AsyncIterator[bytes]) -> dict[str, Any]:
    """Return the completion, or the error object, that a stream of events amounts to.

    Raises ModelUnavailable when it is too long or cut off; ValueError or RecursionError when
    garbled.
    """
    reader, completion = EventReader(), StreamedCompletion()
    received = 0
    try:
        async for chunk in chunks:
            received += len(chunk)
            if received > MAX_WIRE_BYTES:
                raise TooLong("stream")
            if _take(reader.feed(chunk), completion):
                await _drain(chunks)
                return completion.whole()
    except TooLong:
        raise ModelUnavailable(TOO_LONG) from None
    _take_last(reader, completion)
    return completion.whole()


def _take_last(reader: EventReader, completion: StreamedCompletion) -> None:
    """Accept a stream that ended without its mark, if the answer was finished."""
    try:
        over = _take(reader.end(), completion)
    except (ValueError, RecursionError):  # half an event
        over = False
    if not over and not completion.finished:
        raise ModelUnavailable(CUT)


def _take(payloads: Iterable[bytes], completion: StreamedCompletion) -> bool:
    """Add the chunks; return True when the stream is over, by its mark or by an error."""
    for payload in payloads:
        if payload.strip() == b"[DONE]":
            return True
        chunk = parse(payload)
        completion.add(chunk)
        if error_in(chunk) is not None:
            return True
    return False


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in chunks:
                pass


def parse(payload: bytes) -> dict[str, Any]:
    """Return the JSON object. Raises ValueError or RecursionError."""
    body = _DECODER.decode(payload.decode("utf-8", "replace"))
    if not isinstance(body, dict):
        raise ValueError("not an object")
    return body
