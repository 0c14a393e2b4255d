"""Who asks: the other end of the connection, or the client that a trusted proxy names."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from caylex_project.web.client_addresses import parsed_address
from caylex_project.web.connection import CONNECTION, Connection

UNIX = "unix"  # stands for the other end of a Unix socket
_FOR = b"x-forwarded-for"
_PROTO = b"x-forwarded-proto"
_SCHEMES = frozenset({"http", "https"})

Headers = list[tuple[bytes, bytes]]


class TrustedProxies:
    """The networks of the proxies that are believed; none unless they are named.

    uvicorn believes every program on its own machine, and has said so in the scope before we see
    it. What it knows of the connection itself is what counts here.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        named = set(networks)
        self._unix = UNIX in named
        self._networks = [ipaddress.ip_network(each) for each in named - {UNIX}]
        self._any = bool(named)

    def identify(self, scope: dict[str, Any]) -> None:
        """Set the scope's client and scheme, and remove headers that nobody may believe.

        A client's own `X-Forwarded-For` is removed; likewise `X-Forwarded-Proto`, once proxies are
        named.
        """
        connection: Connection = scope[CONNECTION]
        scope["client"], scope["scheme"] = connection.client, connection.scheme
        headers: Headers = scope["headers"]
        if self._trusts(connection):
            scope["client"] = self._client(headers) or connection.client
            scope["scheme"] = _scheme(headers) or connection.scheme
        else:
            removed = (_FOR, _PROTO) if self._any else (_FOR,)
            scope["headers"] = [each for each in headers if each[0] not in removed]

    def _trusts(self, connection: Connection) -> bool:
        if not self._any:
            return False
        if connection.client is None:
            return self._unix
        return self._is_proxy(parsed_address(connection.client[0]))

    def _is_proxy(self, address: str | None) -> bool:
        return address is not None and any(
            ipaddress.ip_address(address) in network for network in self._networks
        )

    def _client(self, headers: Headers) -> tuple[str, int] | None:
        """Return the last address that is no proxy's; each proxy appends the one it saw.

        None where that is no address.
        """
        named = b",".join(value for name, value in headers if name == _FOR).decode("latin-1")
        found = None
        for each in reversed(named.split(",")):
            found = parsed_address(each)
            if not self._is_proxy(found):
                break
        return None if found is None else (found, 0)


def _scheme(headers: Headers) -> str | None:
    values = [value.decode("latin-1").strip() for name, value in headers if name == _PROTO]
    return values[-1] if values and values[-1] in _SCHEMES else None
