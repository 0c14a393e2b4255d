"""What counts as an answer of a tool server: small, plain, from its own origin, in the protocol."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from enum import Enum

import httpcore2
import httpx2

from agent_runtime.mcp.errors import Exchange, ResponseRejected, ToolServerFailure
from agent_runtime.mcp.jsonrpc import Answer, Envelope, answer_in, read, words_of
from agent_runtime.mcp.refusals import (
    MAX_REFUSAL_BYTES,
    SessionWord,
    address,
    challenge,
    session_word,
)
from agent_runtime.mcp.sse import events_of

MAX_ANSWER_BYTES = 4_000_000  # of one answer, all its events together
MAX_BLANK_BYTES = 64_000  # before the first byte that tells what an answer is
FAULTS = {
    401: ToolServerFailure.CREDENTIAL,
    403: ToolServerFailure.FORBIDDEN,
    **dict.fromkeys((408, 425, 429, 503), ToolServerFailure.BUSY),
}
GREETINGS = ("initialize", "server/discover")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
EVENT_LINE = re.compile(rb"(?:data|event|id|retry)? ?:|:")

# What servers write there for plain bytes: none, identity, utf-8. These are real encodings.
ENCODINGS = frozenset(
    ("gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress", "dcb", "dcz")
)


class Form(Enum):
    """What the first bytes of a body say that it is, whatever its content type."""

    JSON = "json"
    EVENTS = "events"
    OTHER = "other"


def check_head(request: httpx2.Request, status: int, headers: httpx2.Headers) -> None:
    """Refuse what the status line and the headers already tell. Raises ResponseRejected."""
    encodings = headers.get("content-encoding", "").lower().split(",")
    if any(each.strip() in ENCODINGS for each in encodings):
        raise ResponseRejected(ToolServerFailure.ENCODED)
    if 300 <= status < 400:
        _check_redirect(request, status, headers)


def _check_redirect(request: httpx2.Request, status: int, headers: httpx2.Headers) -> None:
    """Let a redirect pass that the SDK may follow: the same origin, the same method."""
    try:
        target = request.url.join(headers["location"])
    except (KeyError, httpx2.InvalidURL):
        raise ResponseRejected(ToolServerFailure.REDIRECT) from None
    stays = origin(target) == origin(request.url) and not target.userinfo
    if status not in (307, 308) or not stays:
        raise ResponseRejected(ToolServerFailure.REDIRECT, address(target))


def origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    """Return what makes two addresses the same server."""
    return url.scheme, url.host, url.port


class Body:
    """A body that is looked into before it is read whole, or as a stream.

    Raises ResponseRejected at the first byte too many.
    """

    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response
        self._chunks = response.aiter_stream()
        self._seen = bytearray()

    async def form(self, content_type: str) -> Form:
        """Tell by its first bytes what the body is; by its content type where they do not."""
        streams = content_type == "text/event-stream"
        while not (start := self._start()):
            if len(self._seen) > MAX_BLANK_BYTES or not await self._more():
                return Form.EVENTS if streams else Form.OTHER
        if start[:1] in (b"{", b"["):
            return Form.JSON
        if streams:
            return Form.OTHER if start.startswith(b"<") else Form.EVENTS
        while len(self._start()) < len("event:") and await self._more():
            pass
        return Form.EVENTS if EVENT_LINE.match(self._start()) else Form.OTHER

    async def read(self) -> bytes:
        """Return the whole body."""
        while await self._more():
            if len(self._seen) > MAX_ANSWER_BYTES:
                raise ResponseRejected(ToolServerFailure.TOO_LARGE)
        return bytes(self._seen)

    async def stream(self) -> AsyncGenerator[bytes]:
        """Yield the body as it comes, from its first byte."""
        if self._seen:
            yield bytes(self._seen)
        async for chunk in self._chunks:
            yield chunk

    async def close(self) -> None:
        """Give the connection back, or close it when the body was not read to its end."""
        await self._chunks.aclose()
        await self._response.aclose()

    def _start(self) -> bytes:
        return bytes(self._seen[:MAX_BLANK_BYTES]).removeprefix(BYTE_ORDER_MARK).lstrip()

    async def _more(self) -> bool:
        chunk = await anext(self._chunks, None)
        if chunk is None:
            return False
        self._seen += chunk
        return True


def read_answer(
    body: bytes, form: Form, asked: Envelope, exchange: Exchange, headers: httpx2.Headers
) -> Answer:
    """Return the answer of a whole body, whatever its status.

    Raises ResponseRejected where it is none.
    """
    answer = _answer(body, form, asked)
    if exchange.status < 400:
        if answer is None:
            raise ResponseRejected(ToolServerFailure.MALFORMED)
        if answer.error is not None:
            check_session(answer.error.message, answer, asked, exchange)
        return answer
    words = answer.error.message if answer and answer.error else words_of(body)
    if len(body) <= MAX_REFUSAL_BYTES and (answer is None or answer.error is not None):
        check_session(words, answer, asked, exchange)
    if exchange.status == 404 and exchange.in_session:
        raise ResponseRejected(ToolServerFailure.SESSION_GONE)
    if exchange.status in FAULTS:
        why = challenge(headers.get_list("www-authenticate"))
        raise ResponseRejected(FAULTS[exchange.status], why or words)
    if answer is not None:
        return answer
    if exchange.status >= 500:
        raise ResponseRejected(ToolServerFailure.SERVER_ERROR)
    raise ResponseRejected(ToolServerFailure.REJECTED, words)


def _answer(body: bytes, form: Form, asked: Envelope) -> Answer | None:
    if form is Form.JSON:
        try:
            return answer_in(read(body), asked)
        except ResponseRejected as refusal:
            if refusal.fault is ToolServerFailure.TOO_LARGE:
                raise
            return None
    if form is Form.EVENTS:
        found = (answer_in(each.json(), asked) for each in events_of(body))
        return next((each for each in found if each is not None), None)
    return None


def check_session(words: str, answer: Answer | None, asked: Envelope, exchange: Exchange) -> None:
    """Raise ResponseRejected for a refusal that says something of the session.

    A server that gives out no ids may want to be greeted all the same.
    """
    if asked.method in GREETINGS:
        return
    found = session_word(
        words=words,
        status=exchange.status,
        error=answer.error if answer else None,
        own_id=answer is not None and answer.own_id,
    )
    if found is SessionWord.UNGREETED or (found is SessionWord.LOST and exchange.in_session):
        raise ResponseRejected(ToolServerFailure.SESSION_GONE)
    if found is SessionWord.MENTIONED and exchange.in_session and exchange.status != 404:
        raise ResponseRejected(ToolServerFailure.SESSION_UNCLEAR, words)
