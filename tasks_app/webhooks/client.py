"""One try to deliver one message."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterable
from email.utils import parsedate_to_datetime

import httpcore2
from standardwebhooks import Webhook

from agent_runtime.errors import AddressRefused
from agent_runtime.mcp.transport import tls_context
from agent_runtime.net.address_guard import AddressGuard, GuardedBackend
from agent_runtime.net.connection_errors import Stage
from caylex_project import VERSION
from tasks_app.webhooks.deliveries import DeliveryResult, OutgoingMessage

DEADLINE = 15.0  # seconds for the whole try
NO_SECRET = "No signing secret opens; see CAYLEX_CREDENTIAL_KEYS."  # noqa: S105 - a sentence
_LATER = (429, 503)  # whose Retry-After is honoured


async def post(
    *, message: OutgoingMessage, guard: AddressGuard, now: datetime.datetime
) -> DeliveryResult:
    """Send a message once, to a checked address, and return what became of it.

    A connection of its own, closed when the answer's head is there: of the answer nothing but
    the status and `Retry-After` counts, so nothing else is read. Redirects are not followed and
    no proxy is used; both would reach an address that nobody checked.
    """
    if not message.secrets:
        return DeliveryResult(error=NO_SECRET)
    stage = Stage()
    try:
        address = guard.check_target(message.url, webhook=True)
        async with asyncio.timeout(DEADLINE):
            async with _pool(guard) as pool:
                async with pool.stream(
                    "POST",
                    httpcore2.URL(
                        scheme=address.scheme,
                        host=address.host,
                        port=address.port,
                        target=address.target,
                    ),
                    headers={"host": address.authority, **signed(message, now=now)},
                    content=message.body,
                    extensions={"trace": stage.trace},
                ) as response:
                    return _outcome(response, now)
    except AddressRefused as refused:
        return DeliveryResult(error=str(refused))
    except (
        TimeoutError,
        httpcore2.TimeoutException,
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
    ) as error:
        return DeliveryResult(error=stage.sentence(error, seconds=DEADLINE))


def _pool(guard: AddressGuard) -> httpcore2.AsyncConnectionPool:
    return httpcore2.AsyncConnectionPool(
        ssl_context=tls_context(),
        max_connections=1,
        max_keepalive_connections=0,
        network_backend=GuardedBackend(guard),
    )


def signed(message: OutgoingMessage, *, now: datetime.datetime) -> dict[str | bytes, str | bytes]:
    """Return the headers of a message that is sent now, signed with every live secret."""
    text = message.body.decode()
    moment = now.astimezone(datetime.UTC)
    signatures = [
        Webhook(secret).sign(msg_id=str(message.id), timestamp=moment, data=text)
        for secret in message.secrets
    ]
    return {
        "content-type": "application/json",
        "user-agent": f"Caylex-Agent-Tasks/{VERSION}",
        "connection": "close",
        "webhook-id": str(message.id),
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _outcome(response: httpcore2.Response, now: datetime.datetime) -> DeliveryResult:
    status = response.status
    if 200 <= status < 300:
        return DeliveryResult(status=status)
    return DeliveryResult(
        status=status,
        error=f"The address answered {status}.",
        retry_after=_retry_after(response.headers, now) if status in _LATER else None,
    )


def _retry_after(headers: Iterable[tuple[bytes, bytes]], now: datetime.datetime) -> float | None:
    """Return the seconds of a Retry-After header: a number or a date (RFC 9110, 10.2.3)."""
    for name, value in headers:
        if name.lower() == b"retry-after":
            text = value.decode("latin-1").strip()
            if text.isascii() and text.isdigit():
                return float(text[:9])
            try:
                until = parsedate_to_datetime(text).astimezone(datetime.UTC)
            except (ValueError, OverflowError):
                return None
            return (until - now).total_seconds()
    return None
