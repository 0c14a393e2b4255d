"""Reading an answer off the wire: capped, whole or as a stream of events."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterable
from typing import Any

from agent_runtime.errors import ModelUnavailable
from agent_runtime.llm.schema import error_in
from agent_runtime.llm.sse import MAX_ANSWER_BYTES, EventReader, StreamedCompletion, TooLong

DRAIN_SECONDS = 0.2  # to see a stream's end after its last event, so that the connection is kept
# A stream spends some hundred bytes on each token: the cap on what is read is wider than the
# cap on what is kept.
MAX_WIRE_BYTES = 16 * MAX_ANSWER_BYTES

MAX_PEEK = 4_096  # blank bytes before the first that tells what an answer is

_DECODER = json.JSONDecoder(parse_constant=lambda _: None)  # loads() would make one each time

DISCONNECTED = "The model provider's answer was cut off."
TOO_LONG = "The model provider's answer is larger than any answer may be."

_FIELDS = (b"data", b"event", b"id", b"retry", b"error")  # of an event stream
_FIELD = re.compile(rb"(?:data|event|id|retry|error)?:|data[\r\n]")


async def read_answer(chunks: AsyncIterator[bytes], *, says_stream: bool) -> dict[str, Any]:
    """Return the completion, or the error object, that an answer holds.

    What it is shows in its first bytes, whatever its content type says: an object, or the fields
    of an event stream. Where they show neither, `says_stream` decides. Raises ModelUnavailable
    when it is too long or cut off; ValueError or RecursionError when garbled.
    """
    head = bytearray()
    is_stream: bool | None = None
    async for chunk in chunks:
        head += chunk
        is_stream = _is_stream(bytes(head[:MAX_PEEK]))
        if is_stream is not None or len(head) > MAX_PEEK:
            break
    if says_stream if is_stream is None else is_stream:
        return await read_stream(chunks, first=bytes(head))
    return await read_whole(chunks, first=bytes(head))


def _is_stream(head: bytes) -> bool | None:
    """Say what an answer is that begins so; None where that does not show yet, or not at all."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if text[:1] in (b"{", b"["):
        return False
    return True if _FIELD.match(text) else None


async def read_some(chunks: AsyncIterator[bytes], *, most: int, first: bytes = b"") -> bytes:
    """Return the first `most` bytes of an answer, or all of a shorter one."""
    received = bytearray(first)
    async for chunk in chunks:
        received += chunk
        if len(received) > most:
            break
    return bytes(received[:most])


async def read_whole(chunks: AsyncIterator[bytes], *, first: bytes = b"") -> dict[str, Any]:
    """Return the completion, or the error object, that a plain JSON answer holds.

    `first` has been read already. Raises ModelUnavailable when it is too long; ValueError or
    RecursionError when garbled.
    """
    received = await read_some(chunks, most=MAX_ANSWER_BYTES + 1, first=first)
    if len(received) > MAX_ANSWER_BYTES:
        raise ModelUnavailable(TOO_LONG)
    return parse(received)


async def read_stream(chunks: AsyncIterator[bytes], *, first: bytes = b"") -> dict[str, Any]:
    """Return the completion, or the error object, that a stream of events amounts to.

    `first` has been read already. Raises ModelUnavailable when it is too long or cut off;
    ValueError or RecursionError when garbled.
    """
    reader, completion = EventReader(), StreamedCompletion()
    received = len(first)
    try:
        over = _take(reader.feed(first), completion)
        if not over:
            async for chunk in chunks:
                received += len(chunk)
                if received > MAX_WIRE_BYTES:
                    raise TooLong("stream")
                if over := _take(reader.feed(chunk), completion):
                    break
    except TooLong:
        raise ModelUnavailable(TOO_LONG) from None
    if over:
        await _drain(chunks)
    else:
        _take_last(reader, completion)
    return completion.whole()


def _take_last(reader: EventReader, completion: StreamedCompletion) -> None:
    """Accept a stream that ended without its mark, if the answer was finished."""
    try:
        over = _take(reader.end(), completion)
    except (ValueError, RecursionError):  # half an event
        over = False
    if not over and not completion.finished:
        raise ModelUnavailable(DISCONNECTED)


def _take(payloads: Iterable[bytes], completion: StreamedCompletion) -> bool:
    """Add the chunks; return True when the stream is over, by its mark or by an error."""
    for payload in payloads:
        if payload.strip() == b"[DONE]":
            return True
        chunk = parse(payload)
        error = error_in(chunk)
        if error is not None:
            completion.fail(error)
            return True
        completion.add(chunk)
    return False


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in chunks:
                pass


def parse(payload: bytes) -> dict[str, Any]:
    """Return the JSON object, also the only one of a list (Gemini's errors are such).

    A byte order mark before it is passed over (RFC 8259, 8.1). Raises ValueError or
    RecursionError.
    """
    body = _DECODER.decode(payload.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace"))
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict):
        raise ValueError("not an object")
    return body
