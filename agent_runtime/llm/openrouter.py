"""The model port over chat completions: OpenRouter's, or any server that speaks the same.

httpx in front, aiohttp underneath (httpx's own pool goes quadratic with open connections).
Streaming serves to notice a stall; the answer is handed over whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import ssl
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from typing import Any, cast
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import aiohttp
import httpx
import stamina
from aiohttp.client_proto import ResponseHandler
from httpx_aiohttp import AiohttpTransport

from agent_runtime.errors import ModelFault, ModelUnavailable
from agent_runtime.llm import faults
from agent_runtime.llm.body import RequestBodies, RequestBody
from agent_runtime.llm.receive import parse, read_some, read_stream, read_whole
from agent_runtime.llm.wire import error_in, read_completion
from agent_runtime.messages import ModelAnswer
from agent_runtime.ports import ModelRequest

TRIES = 2
LONGEST_SLEEP = 5.0  # seconds; a longer wait is for the caller to plan, not to sleep through
CONNECT_SECONDS = 15.0
MAX_ERROR_BYTES = 64_000
STALE_CONNECTIONS = 3  # kept ones that turn out to be closed, in a row

HUNG_UP = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
_on_kept_connection: ContextVar[bool] = ContextVar("on_kept_connection", default=False)

GARBLED = "The model provider sent something that is not a chat completion ({what})."


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """The one TLS context of this process; making one takes 20 ms."""
    return httpx.create_ssl_context(trust_env=False)


class OpenRouter:
    """The language model behind `base_url`, for any number of calls at once.

    `stall_seconds` is how long the provider may send nothing at all. Without an `api_key` no
    Authorization header is sent. `referer` and `title` name this service to OpenRouter.
    Each event loop that asks gets connections of its own, to be closed by `close` there.
    Raises ValueError for an address or a key that cannot be sent.
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
        self._url = _address(base_url)
        self._headers = _headers(api_key=api_key, referer=referer, title=title)
        self._timeouts = {"connect": CONNECT_SECONDS, "read": stall_seconds}
        self._bodies = RequestBodies(marks_cache=self._url.host.endswith("openrouter.ai"))
        self._scrubber = faults.Scrubber.of(secrets=[api_key])
        self._transports: WeakKeyDictionary[asyncio.AbstractEventLoop, AiohttpTransport] = (
            WeakKeyDictionary()
        )

    def __repr__(self) -> str:
        return f"OpenRouter({self._url.host!r})"

    async def complete(self, request: ModelRequest) -> ModelAnswer:
        """Return one whole answer, within `request.timeout` seconds for all tries.

        1. Ask. A refusal (ModelRefused) is raised at once.
        2. After a fault of the world wait a moment, or as long as the provider says; a wait
           of more than LONGEST_SLEEP is not slept but raised.
        3. Ask once more, and raise what comes of it.
        """
        body = self._bodies.build(request)
        try:
            async with asyncio.timeout(request.timeout):
                try:
                    return await self._ask(body, request)
                except ModelFault as fault:
                    first = fault.with_traceback(None)  # whose frames hold what was received
                return await self._ask_again(body, request, first)
        except TimeoutError:
            sentence = f"The model did not answer within {request.timeout:g} seconds."
            raise ModelUnavailable(sentence) from None

    async def _ask_again(
        self, body: RequestBody, request: ModelRequest, first: ModelFault
    ) -> ModelAnswer:
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
                return await self._ask(body, request)
        raise AssertionError("retry_context ends with an answer or a fault")

    async def close(self) -> None:
        """Close the connections of the running event loop. Calls in flight fail."""
        transport = self._transports.pop(asyncio.get_running_loop(), None)
        if transport is not None:
            await transport.aclose()

    def _transport(self) -> AiohttpTransport:
        """Return this loop's connections.

        No httpx client around them: no cookie, redirect, proxy or sign-in is wanted here, and
        the client's looking for them costs as much as half the transport.
        """
        loop = asyncio.get_running_loop()
        transport = self._transports.get(loop)
        if transport is None:
            transport = AiohttpTransport(verify=_tls_context(), client=_session)
            self._transports[loop] = transport
        return transport

    async def _ask(self, body: RequestBody, request: ModelRequest) -> ModelAnswer:
        try:
            response = await self._send(body)
            try:
                return await self._read(response, request)
            finally:
                await response.aclose()
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            # Not chained: aiohttp's errors carry the request's headers.
            raise ModelUnavailable(self._sentence(error)) from None

    async def _send(self, body: RequestBody) -> httpx.Response:
        """Return the answer's head.

        A kept connection may have been closed by the other side just now (llama.cpp promises
        to keep them and does not). Such a send never counts as a try.
        """
        for _ in range(STALE_CONNECTIONS):
            try:
                return await self._send_once(body)
            except httpx.HTTPError as error:
                if not (_on_kept_connection.get() and isinstance(error.__cause__, HUNG_UP)):
                    raise
        return await self._send_once(body)

    async def _send_once(self, body: RequestBody) -> httpx.Response:
        request = httpx.Request(
            "POST",
            self._url,
            headers={**self._headers, "Content-Length": str(len(body))},
            stream=body,
            extensions={"timeout": self._timeouts},
        )
        return await self._transport().handle_async_request(request)

    def _sentence(self, error: Exception) -> str:
        if isinstance(error, httpx.ReadTimeout):
            return f"The model provider sent nothing for {self._timeouts['read']:g} seconds."
        cause = error.__cause__ or error
        if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return f"The model provider could not be reached ({type(cause).__name__})."
        return f"The connection to the model provider broke ({type(cause).__name__})."

    async def _read(self, response: httpx.Response, request: ModelRequest) -> ModelAnswer:
        if response.status_code >= 300:
            raise await self._fault_of_status(response, request)
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":  # not asked for, and a small body could hold a huge one
            raise ModelUnavailable(GARBLED.format(what=f"{encoding[:20]} encoding"))
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        async with contextlib.aclosing(_chunks(response)) as chunks:
            try:
                is_stream = kind == "text/event-stream"
                body = await (read_stream(chunks) if is_stream else read_whole(chunks))
                error = error_in(body)
                if error is not None:
                    raise self._fault_of_error(error, response, request)
                return read_completion(
                    body,
                    model=request.model,
                    request_id=response.headers.get("x-request-id", ""),
                    salt=str(len(request.messages)),
                )
            except (ValueError, RecursionError):
                what = self._scrubber.excerpt(kind[:50]) or "no content type"
                raise ModelUnavailable(GARBLED.format(what=what)) from None

    async def _fault_of_status(self, response: httpx.Response, request: ModelRequest) -> ModelFault:
        async with contextlib.aclosing(_chunks(response)) as chunks:
            received = await read_some(chunks, most=MAX_ERROR_BYTES)
        text = received.decode("utf-8", "replace")
        try:
            body = parse(received)
            text = faults.detail_of_error(body.get("error") or body)
        except (ValueError, RecursionError):
            text = "" if text.lstrip().startswith("<") else text
        return faults.fault(
            status=response.status_code,
            code=f"HTTP {response.status_code}",
            detail=self._scrubber.excerpt(text),
            model=request.model,
            retry_after=_retry_after(response),
        )

    def _fault_of_error(
        self, error: Any, response: httpx.Response, request: ModelRequest
    ) -> ModelFault:
        status = faults.status_of_error(error)
        return faults.fault(
            status=status,
            code=f"code {status}",
            detail=self._scrubber.excerpt(faults.detail_of_error(error)),
            model=request.model,
            retry_after=_retry_after(response),
        )


def _second_try(error: Exception) -> bool | float:
    """Say whether to ask again: False, True (after a short, jittered wait), or the seconds."""
    if not isinstance(error, ModelUnavailable):
        return False
    if error.retry_after is None:
        return True
    return error.retry_after if error.retry_after <= LONGEST_SLEEP else False


def _address(base_url: str) -> httpx.URL:
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        url = httpx.URL(f"{base_url.rstrip('/')}/chat/completions")
    except (httpx.InvalidURL, ValueError):
        usable = False
    if not usable or url.userinfo:
        raise ValueError("OPENROUTER_BASE_URL must be http(s)://host/path, without a user name.")
    return url


def _headers(*, api_key: str, referer: str, title: str) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream, application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "caylex-agent-tasks",
    }
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    if referer:
        headers["HTTP-Referer"] = referer
    if title:
        headers["X-Title"] = title
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        raise ValueError("OPENROUTER_API_KEY holds characters that cannot be sent in a header.")
    return headers


class _Connector(aiohttp.TCPConnector):
    """Notes whether a request goes out on a connection that was kept from an earlier one.

    Tracing tells too, at the price of a tenth of each request.
    """

    def __init__(self) -> None:
        super().__init__(limit=0, ssl=_tls_context())

    async def connect(self, *args: Any, **kwargs: Any) -> aiohttp.connector.Connection:
        _on_kept_connection.set(True)
        return await super().connect(*args, **kwargs)

    async def _create_connection(self, *args: Any, **kwargs: Any) -> ResponseHandler:
        _on_kept_connection.set(False)
        return await super()._create_connection(*args, **kwargs)


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=_Connector(), cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    )


def _retry_after(response: httpx.Response) -> float | None:
    """Return the wait in seconds; a date counts from the `Date` of the answer, not from now."""
    now = faults.parse_date(response.headers.get("date")) or datetime.datetime.now(datetime.UTC)
    return faults.parse_retry_after(response.headers.get("retry-after"), now=now)


def _chunks(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    # A generator in truth, which has to be closed on the way out.
    return cast("AsyncGenerator[bytes, None]", response.aiter_raw())
