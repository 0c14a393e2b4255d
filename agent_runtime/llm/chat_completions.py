"""The model port over chat completions: OpenRouter's, or any server that speaks the same.

Streaming serves to notice a stall; the answer is handed over whole. What a provider does not take
is left out of the next request: see `providers` for what is known, `lessons` for what is learned.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import httpx
import stamina

from agent_runtime.adaptation import Adaptation
from agent_runtime.context.window import Window
from agent_runtime.errors import ModelError, ModelUnavailable
from agent_runtime.llm import errors, providers
from agent_runtime.llm.asked import Asked, Refusal, in_own_words
from agent_runtime.llm.connections import (
    Connections,
    address_of,
    chunks_of,
    headers_of,
    sentence_of,
)
from agent_runtime.llm.listing import windows_in
from agent_runtime.llm.request_body import RequestBodies
from agent_runtime.llm.response import parse, read_answer, read_some
from agent_runtime.llm.schema import error_in, read_completion
from agent_runtime.llm.words import words_of
from agent_runtime.messages import ModelAnswer
from agent_runtime.net.tls import tls_context
from agent_runtime.ports import ModelRequest

TRIES = 2
MAX_LESSONS = 8  # refusals of one request that teach something, before it is given up
MAX_SLEEP = 5.0  # seconds; a longer wait is for the caller to plan, not to sleep through
CONNECT_SECONDS = 15.0
MAX_ERROR_BYTES = 64_000
MAX_LISTING_BYTES = 8_000_000
LISTING_SECONDS = 30.0
PLAIN_ENCODINGS = frozenset(("", "identity", "none", "utf-8", "utf8"))  # some name a charset here
COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x78\x9c", b"\x78\x01", b"\x78\xda")

MALFORMED = "The model provider sent something that is not a chat completion ({what})."


class ChatCompletionsModel:
    """The language model behind `base_url`, for any number of calls at once.

    `stall_seconds` is how long the provider may send nothing at all. Without an `api_key` no
    Authorization header is sent. `referer` and `title` name this service to OpenRouter.
    Each event loop that asks gets connections of its own, to be closed by `close` there.
    Raises ValueError for an address, a key or a file of certificates that cannot be used.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        stall_seconds: float,
        referer: str = "",
        title: str = "",
    ) -> None:
        self._url = address_of(base_url)
        self._models = self._url.copy_with(
            raw_path=self._url.raw_path.removesuffix(b"/chat/completions") + b"/models"
        )
        if self._url.scheme == "https":
            tls_context()  # fails now rather than with the first task
        self._headers = headers_of(api_key=api_key, referer=referer, title=title)
        self._timeouts = {"connect": CONNECT_SECONDS, "read": stall_seconds}
        self._bodies = RequestBodies(marks_cache=providers.marks_cache(host=self._url.host))
        self._scrubber = errors.ProviderTextScrubber.of(secrets=[api_key])
        self._connections = Connections()
        self._known: dict[str, Adaptation] = {}  # by model: what holds for all its requests

    def __repr__(self) -> str:
        return f"ChatCompletionsModel({self._url.host!r})"

    async def complete(self, request: ModelRequest) -> ModelAnswer:
        """Return one whole answer, within `request.timeout` seconds for all tries.

        1. Ask. A refusal (ModelRefused) is raised at once, unless it teaches what to leave out:
           then ask again without that, as often as something new is learned.
        2. After a fault of the world wait a moment, or as long as the provider says; a wait
           of more than MAX_SLEEP is not slept but raised.
        3. Ask once more, and raise what comes of it.
        """
        try:
            async with asyncio.timeout(request.timeout):
                try:
                    return await self._ask(request)
                except ModelError as fault:
                    first = fault.with_traceback(None)  # whose frames hold what was received
                return await self._ask_again(request, first)
        except TimeoutError:
            sentence = f"The model did not answer within {request.timeout:g} seconds."
            raise ModelUnavailable(sentence) from None

    async def windows(self) -> Mapping[str, Window]:
        """Return the context windows by model that the provider's list of models tells.

        A server without such a list tells none. Raises ModelUnavailable.
        """
        request = httpx.Request(
            "GET", self._models, headers=self._headers, extensions={"timeout": self._timeouts}
        )
        try:
            async with asyncio.timeout(LISTING_SECONDS):
                response = await self._connections.send(request)
                try:
                    return await _listed(response)
                finally:
                    await response.aclose()
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            sentence = sentence_of(error, stall_seconds=self._timeouts["read"])
            raise ModelUnavailable(sentence) from None

    async def close(self) -> None:
        """Close the connections of the running event loop. Calls in flight fail."""
        await self._connections.close()

    async def _ask_again(self, request: ModelRequest, first: ModelError) -> ModelAnswer:
        """Wait and ask once more, or raise the first fault again.

        The retrying begins with the fault in hand: setting it up costs as much as a tenth of
        an answer, and nearly every answer comes at once.
        """
        async for attempt in stamina.retry_context(
            on=_second_try,
            attempts=TRIES,
            timeout=None,
            wait_initial=0.3,
            wait_max=1.0,
            wait_jitter=0.7,
        ):
            with attempt:
                if attempt.num == 1:
                    raise first
                return await self._ask(request)
        raise AssertionError("retry_context ends with an answer or a fault")

    async def _ask(self, request: ModelRequest) -> ModelAnswer:
        """Ask until the provider takes the request, or refuses it for good."""
        asked = Asked(
            request=request, known=self._known_of(request.model), learned=request.adaptation
        )
        for _ in range(MAX_LESSONS):
            try:
                return await self._ask_once(asked)
            except Refusal as refusal:
                lesson = asked.lesson(refusal)
                if lesson is None:
                    raise refusal.fault from None
                known = self._known_of(request.model) | lesson.for_all
                self._known[request.model] = known
                asked = replace(asked, known=known, learned=lesson.for_run)
        try:
            return await self._ask_once(asked)
        except Refusal as refusal:
            raise refusal.fault from None

    def _known_of(self, model: str) -> Adaptation:
        known = self._known.get(model)
        if known is None:
            known = self._known[model] = providers.known(host=self._url.host, model=model)
        return known

    async def _ask_once(self, asked: Asked) -> ModelAnswer:
        body = self._bodies.build(asked.request, asked.adaptation, asked.notes)
        sent = httpx.Request(
            "POST",
            self._url,
            headers={**self._headers, "Content-Length": str(len(body))},
            stream=body,
            extensions={"timeout": self._timeouts},
        )
        try:
            response = await self._connections.send(sent)
            try:
                return await self._read(response, asked)
            finally:
                await response.aclose()
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            # Not chained: aiohttp's errors carry the request's headers.
            sentence = sentence_of(error, stall_seconds=self._timeouts["read"])
            raise ModelUnavailable(sentence) from None

    async def _read(self, response: httpx.Response, asked: Asked) -> ModelAnswer:
        if response.status_code >= 300:
            raise await self._refusal_of_status(response, asked.request)
        encoding = _encoding(response)
        if encoding not in PLAIN_ENCODINGS:  # not asked for, and a small body could hold a huge one
            raise ModelUnavailable(MALFORMED.format(what=f"{encoding[:20]} encoding"))
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        async with contextlib.aclosing(chunks_of(response)) as chunks:
            try:
                body = await read_answer(chunks, says_stream=kind == "text/event-stream")
                error = error_in(body)
                if error is None:
                    return self._answer(body, response, asked)
            except (ValueError, RecursionError):
                what = self._scrubber.excerpt(kind[:50]) or "no content type"
                raise ModelUnavailable(MALFORMED.format(what=what)) from None
        status = errors.status_of_error(error)
        raise self._refusal(status, f"code {status}", error, response, asked.request)

    def _answer(self, body: dict[str, Any], response: httpx.Response, asked: Asked) -> ModelAnswer:
        """Return the answer of a completion, without our key, in the tools' own words."""
        request = asked.request
        answer = read_completion(
            self._scrubber.clean(body),
            model=request.model,
            request_id=self._scrubber.clean(response.headers.get("x-request-id", "")),
            salt=str(len(request.messages)),
            taken=request.call_ids,
        )
        requests = answer.requests
        renamed = self._bodies.tools(request, asked.adaptation).renamed if requests else {}
        if renamed:
            requests = tuple(in_own_words(each, renamed) for each in requests)
        if requests is answer.requests and not asked.learned:
            return answer
        return replace(answer, requests=requests, adaptation=asked.learned, notes=asked.notes)

    async def _refusal_of_status(self, response: httpx.Response, request: ModelRequest) -> Refusal:
        async with contextlib.aclosing(chunks_of(response)) as chunks:
            received = await read_some(chunks, most=MAX_ERROR_BYTES)
        error: Any
        try:
            body = parse(received)
            error = body.get("error") or body
        except (ValueError, RecursionError):
            error = _shown(received, plain=_encoding(response) in PLAIN_ENCODINGS)
        code = f"HTTP {response.status_code}"
        return self._refusal(response.status_code, code, error, response, request)

    def _refusal(
        self, status: int, code: str, error: Any, response: httpx.Response, request: ModelRequest
    ) -> Refusal:
        words = words_of(error)
        fault = errors.classify_status(
            status=status,
            code=code,
            detail=self._scrubber.excerpt(errors.detail_of_error(error)),
            model=request.model,
            retry_after=_retry_after(response),
            words=words,
        )
        return Refusal(fault, status=status, words=words)


async def _listed(response: httpx.Response) -> Mapping[str, Window]:
    """Read a list of models; anything else is one without windows."""
    if response.status_code >= 500 or response.status_code == 429:
        raise ModelUnavailable(f"The list of models was not given (HTTP {response.status_code}).")
    if response.status_code != 200 or _encoding(response) not in PLAIN_ENCODINGS:
        return {}
    async with contextlib.aclosing(chunks_of(response)) as chunks:
        received = await read_some(chunks, most=MAX_LISTING_BYTES)
    try:
        return windows_in(parse(received))
    except (ValueError, RecursionError):
        return {}


def _encoding(response: httpx.Response) -> str:
    return str(response.headers.get("content-encoding", "")).strip().lower()


def _shown(received: bytes, *, plain: bool) -> str:
    """Return an error that is no JSON as text, nothing of an HTML page, no compressed bytes."""
    if not plain or received.startswith(COMPRESSED):
        return "(compressed, not shown)"
    text = received.decode("utf-8", "replace")
    return "" if text.lstrip().startswith("<") else text


def _second_try(error: Exception) -> bool | float:
    """Say whether to ask again: False, True (after a short, jittered wait), or the seconds."""
    if not isinstance(error, ModelUnavailable):
        return False
    if error.retry_after is None:
        return True
    return error.retry_after if error.retry_after <= MAX_SLEEP else False


def _retry_after(response: httpx.Response) -> float | None:
    """Return the wait in seconds; a date counts from the `Date` of the answer, not from now."""
    now = errors.parse_date(response.headers.get("date")) or datetime.datetime.now(datetime.UTC)
    return errors.parse_retry_after(response.headers.get("retry-after"), now=now)
