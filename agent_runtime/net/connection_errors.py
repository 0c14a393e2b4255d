"""Why no answer came from an address: a sentence that tells one cause from another."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import httpcore2

_PLACES = {  # what was begun last, by the events of httpcore2
    "connect_tcp": "connect",
    "start_tls": "tls",
    "send_request_headers": "wait",
}

_IN_TIME = {
    "connect": "Could not connect within {seconds} seconds.",
    "tls": "Connected, but TLS was not agreed on within {seconds} seconds.",
    "wait": "No answer within {seconds} seconds.",
}
# What OpenSSL says of an answer that is no TLS at all.
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"})
_CLOSED = "UNEXPECTED_EOF_WHILE_READING"


class Stage:
    """How far one request came: connecting, agreeing on TLS, or waiting for an answer.

    Give `trace` to the request as the extension of that name, and its exception to `sentence`.
    """

    def __init__(self) -> None:
        self._at = "connect"

    async def trace(self, event: str, _: Mapping[str, Any]) -> None:
        """Note what begins."""
        name = event.rpartition(".")[0].rpartition(".")[2]
        self._at = _PLACES.get(name, self._at)

    def sentence(self, error: Exception, *, seconds: float) -> str:
        """Return why there is no answer; `seconds` is the time that the request had."""
        causes = list(_causes(error))
        if any(isinstance(each, socket.gaierror | UnicodeError) for each in causes):
            return "Could not connect: the name does not resolve."
        for each in causes:
            if isinstance(each, ssl.SSLCertVerificationError):
                return f"The TLS certificate is not trusted: {each.verify_message.rstrip('.')}."
        if any(isinstance(each, TimeoutError | httpcore2.TimeoutException) for each in causes):
            return _IN_TIME[self._at].format(seconds=f"{seconds:g}")
        return self._broken(error, causes)

    def _broken(self, error: Exception, causes: list[BaseException]) -> str:
        reset = any(isinstance(each, ConnectionResetError | BrokenPipeError) for each in causes)
        if self._at == "connect":
            return f"Could not connect: {_refusal(causes)}."
        if self._at == "tls":
            return _without_tls(causes, reset=reset)
        if reset:
            return "The connection was reset before an answer came."
        if isinstance(error, httpcore2.ProtocolError) and "disconnected" not in str(error):
            return "The answer was not HTTP."
        return "The connection was closed before an answer came."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and what led to it, those of several tries too."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        if isinstance(seen, BaseExceptionGroup):
            for each in seen.exceptions:
                yield from _causes(each)
        seen = seen.__cause__ or seen.__context__


def _refusal(causes: list[BaseException]) -> str:
    if any(isinstance(each, ConnectionRefusedError) for each in causes):
        return "connection refused"
    if any(isinstance(each, ConnectionResetError) for each in causes):
        return "the connection was reset"
    return "no route to the address"


def _without_tls(causes: list[BaseException], *, reset: bool) -> str:
    reasons = [each.reason for each in causes if isinstance(each, ssl.SSLError) and each.reason]
    if any(reason in _NO_TLS for reason in reasons):
        return "The address does not speak TLS. Use http://, or another port."
    if reasons and not reset and _CLOSED not in reasons:
        words = reasons[0].lower().replace("_", " ")
        return f"TLS could not be agreed on: {words}."
    how = "reset" if reset else "closed"
    return f"The connection was {how} before TLS was agreed on."
