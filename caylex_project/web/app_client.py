"""Asking the application behind a layer, any number of times within one request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from caylex_project.web.connection import CONNECTION
from caylex_project.web.request_limits import Application, ASGIMessage, Scope, Send

Headers = list[tuple[bytes, bytes]]

VERSION = b"x-task-version"  # what Django says for the layers before it alone
REQUEST_ID = b"x-request-id"


@dataclass(slots=True)
class AppResponse:
    """A whole answer; header names in any case."""

    status: int = 500
    headers: Headers = field(default_factory=list)
    body: bytes = b""

    def header(self, name: bytes) -> bytes | None:
        """Return the header's value."""
        return next((value for each, value in self.headers if each.lower() == name), None)

    @property
    def version(self) -> str:
        """Which version of what was asked about this shows."""
        return (self.header(VERSION) or b"").decode("ascii")

    @property
    def request_id(self) -> dict[bytes, bytes]:
        """The header under which further questions belong to the same request."""
        found = self.header(REQUEST_ID)
        return {} if found is None else {REQUEST_ID: found}

    def under(self, request_id: bytes) -> AppResponse:
        """Return the same answer to another request."""
        headers = [each for each in self.headers if each[0].lower() != REQUEST_ID]
        headers.append((REQUEST_ID, request_id))
        return AppResponse(status=self.status, headers=headers, body=self.body)

    async def send(self, send: Send) -> None:
        """Send it."""
        start = {"type": "http.response.start", "status": self.status, "headers": self.headers}
        await send(start)
        await send({"type": "http.response.body", "body": self.body})


class AppClient:
    """Asks an application; of those who ask the same at the same moment one asks for all.

    A change wakes many at once, and each would ask the same with the same credentials.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._pending: dict[object, asyncio.Task[AppResponse]] = {}

    async def request(self, scope: Scope) -> AppResponse:
        """Return the application's answer to a request without a body."""
        answer = AppResponse()
        parts: list[bytes] = []

        async def receive() -> ASGIMessage:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: ASGIMessage) -> None:
            if message["type"] == "http.response.start":
                answer.status, answer.headers = message["status"], list(message["headers"])
            else:
                parts.append(message.get("body", b""))

        await self._application(scope, receive, send)
        answer.body = b"".join(parts)
        return answer

    async def request_coalesced(self, scope: Scope) -> AppResponse:
        """Like `request`, shared with all who come before the asking begins, and with none later.

        Later ones may have been woken by what happened since. The answer to share is found by
        the whole request but its own id, so that nobody gets what another's credentials open. It
        is found for the others even where the first of them has left.
        """
        scope = {name: value for name, value in scope.items() if name != CONNECTION}
        headers = tuple(each for each in scope["headers"] if each[0] != REQUEST_ID)
        key = (scope["path"], scope["query_string"], headers)
        flight = self._pending.get(key)
        if flight is None:
            flight = asyncio.create_task(self._send_coalesced(key, scope))
            self._pending[key] = flight
        return await asyncio.shield(flight)

    async def _send_coalesced(self, key: object, scope: Scope) -> AppResponse:
        del self._pending[key]
        return await self.request(scope)


def with_headers(scope: Scope, changed: dict[bytes, bytes], *, query: bytes | None = None) -> Scope:
    """Return the request with other headers, and another query if one is given."""
    kept = [each for each in scope["headers"] if each[0] not in changed]
    asked = {**scope, "headers": [*kept, *changed.items()]}
    if query is not None:
        asked["query_string"] = query
    return asked
