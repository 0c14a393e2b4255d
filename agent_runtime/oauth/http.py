"""The HTTP of OAuth: small JSON documents, through the address guard, redirects not trusted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import quote_plus, urljoin

import httpcore2

from agent_runtime.errors import AddressRefused
from agent_runtime.net.address_guard import AddressGuard, GuardedBackend
from agent_runtime.net.tls import tls_context
from agent_runtime.net.web_address import WebAddress
from agent_runtime.oauth.errors import NotDiscoverable, Unreachable

MAX_BYTES = 64_000  # of one document
SECONDS = 10.0  # for one request, redirects included
MAX_REDIRECTS = 3  # of a metadata document, within its origin
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The status, the headers in lower case, and the JSON object, or None where there is none."""

    status: int
    headers: Mapping[str, str]
    document: Mapping[str, Any] | None


class OAuthHttp:
    """The connections of one visit to an authorization server; use it as a context manager.

    `http_allowed(host)` says for which hosts plain http is permitted: those in the operator's
    private networks. Every address is checked when it is connected to.
    """

    def __init__(self, *, guard: AddressGuard, http_allowed: Callable[[str], bool]) -> None:
        self._http_allowed = http_allowed
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls_context(),
            max_connections=4,
            network_backend=GuardedBackend(guard),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._pool.aclose()

    def check(self, url: str, *, what: str) -> str:
        """Return the address. Raises NotDiscoverable for one that is not https, or is malformed.

        `what` names the address in the sentence.
        """
        address = _read_address(url, what)
        if address.scheme == "https" or self._http_allowed(address.host):
            return url
        raise NotDiscoverable(f"{what} must be an https address, not {url[:200]!r}.")

    async def get(self, url: str, *, what: str) -> Answer:
        """Fetch a metadata document; a redirect is followed within the same origin alone.

        Raises NotDiscoverable for a redirect elsewhere, Unreachable for a fault.
        """
        async with _deadline(what):
            for _ in range(MAX_REDIRECTS + 1):
                self.check(url, what=what)
                answer = await self._send("GET", url, {"accept": "application/json"}, b"", what)
                if answer.status not in _REDIRECTS:
                    return answer
                url = _onward(url, answer.headers.get("location", ""), what)
        raise NotDiscoverable(f"{what} redirects more than {MAX_REDIRECTS} times.")

    async def post_form(
        self, url: str, fields: Mapping[str, str], *, headers: Mapping[str, str], what: str
    ) -> Answer:
        """Post a form to a token or revocation endpoint. No redirect is followed."""
        body = "&".join(f"{quote_plus(k)}={quote_plus(v)}" for k, v in fields.items())
        kind = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        return await self._post(url, {**kind, **headers}, body.encode("ascii"), what)

    async def post_json(self, url: str, document: Mapping[str, Any], *, what: str) -> Answer:
        """Post a JSON document to a registration endpoint. No redirect is followed."""
        kind = {"content-type": "application/json", "accept": "application/json"}
        return await self._post(url, kind, json.dumps(document).encode(), what)

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes, what: str) -> Answer:
        self.check(url, what=what)
        async with _deadline(what):
            answer = await self._send("POST", url, headers, body, what)
        if answer.status in _REDIRECTS:
            raise Unreachable(f"{what} answered with a redirect, which is not followed.")
        return answer

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, what: str
    ) -> Answer:
        address = _read_address(url, what)
        sent = {
            "host": address.authority,
            "accept-encoding": "identity",
            "user-agent": "caylex-agent-tasks",
            "content-length": str(len(body)),
            **headers,
        }
        try:
            async with self._pool.stream(
                method,
                httpcore2.URL(
                    scheme=address.scheme,
                    host=address.host,
                    port=address.port,
                    target=address.target,
                ),
                headers=[(k.encode(), v.encode("latin-1")) for k, v in sent.items()],
                content=body,
                extensions={"timeout": {"connect": 5.0, "read": SECONDS, "write": SECONDS}},
            ) as response:
                return await _read(response, what)
        except AddressRefused as refused:
            raise NotDiscoverable(f"{what} cannot be used: {refused}") from None
        except (
            httpcore2.TimeoutException,
            httpcore2.NetworkError,
            httpcore2.ProtocolError,
        ):
            raise Unreachable(f"{what} did not answer.") from None


async def _read(response: httpcore2.Response, what: str) -> Answer:
    body = bytearray()
    async with aclosing(cast("Any", response.aiter_stream())) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > MAX_BYTES:
                raise Unreachable(f"{what} answered with more than {MAX_BYTES:,} bytes.")
    try:
        document = json.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        document = None
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
    }
    return Answer(
        status=response.status,
        headers=headers,
        document=document if isinstance(document, dict) else None,
    )


class _deadline:  # noqa: N801 - reads as a function where it is used
    """An asyncio time limit whose end is Unreachable."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._timeout = asyncio.timeout(SECONDS)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise Unreachable(f"{self._what} did not answer within {SECONDS:g} seconds.") from None


def _read_address(url: str, what: str) -> WebAddress:
    try:
        return WebAddress.of(url)
    except AddressRefused as refused:
        raise NotDiscoverable(f"{what} is not a valid address. {refused}") from None


def _onward(url: str, location: str, what: str) -> str:
    """Return where a redirect leads. Raises NotDiscoverable for another origin."""
    try:
        onward = urljoin(url, location)
    except ValueError:
        raise NotDiscoverable(f"{what} redirects to no valid address.") from None
    there = _read_address(onward, what)
    if there.origin != WebAddress.of(url).origin:
        raise NotDiscoverable(f"{what} redirects to another origin, {there.host}.")
    return onward
