"""What the server itself knows of a request, whatever the headers say."""

from __future__ import annotations

from typing import Protocol

CONNECTION = "caylex_project.web.connection"  # where a request's scope has its Connection


class Request(Protocol):
    """The server's own record of a request."""

    disconnected: bool


class Connection:
    """The other end, and whether it is still there."""

    __slots__ = ("_request", "client", "scheme")

    def __init__(self, *, client: tuple[str, int] | None, scheme: str, request: Request) -> None:
        self.client = client  # None on a Unix socket
        self.scheme = scheme
        self._request = request

    @property
    def is_gone(self) -> bool:
        """Whether the client has left."""
        return self._request.disconnected
