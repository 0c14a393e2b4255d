"""The address guard, for every socket that we open.

An address comes from a customer, so it may point at our own network. It is checked twice:
when it is saved (`check_url`) and each time that we connect (`GuardedBackend`). The second
check resolves the name itself, wants every answer to be permitted and connects to one of the
addresses that it has checked, so a name server that changes its mind gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpcore2

from agent_runtime.errors import AddressRefused
from agent_runtime.net.dns_lookup import NotLookedUp, look_up
from agent_runtime.net.networks import Address, Network, carried_by, is_metadata, is_public
from agent_runtime.net.web_address import WebAddress, check_host, is_number

CONNECT_TRIES = 4  # addresses of one name that are tried in turn

# Ports on which something else than a web server answers (the list follows the Fetch
# standard's "bad ports" and adds databases, caches, brokers and container engines).
# fmt: off
BLOCKED_PORTS = frozenset((
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 138, 139, 143, 161, 162,
    179, 389, 427, 445, 464, 465, 500, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554,
    556, 563, 587, 601, 623, 636, 873, 989, 990, 993, 995, 1433, 1521, 1719, 1720, 1723, 2049,
    2181, 2375, 2376, 2379, 2380, 3306, 3389, 3659, 4045, 4190, 4369, 5060, 5061, 5432, 5672,
    5900, 6000, 6379, 6443, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 9042, 9092, 9200,
    9300, 10080, 10250, 11211, 25672, 27017,
))
# fmt: on


NOT_PUBLIC = (
    "The address of {host} is not public. Whoever runs this service can permit its network "
    "in CAYLEX_PRIVATE_NETWORKS."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressGuard:
    """Which addresses we may connect to: global ones, and those in `private_networks`."""

    private_networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, *, networks: Iterable[str]) -> AddressGuard:
        """Return a guard that permits `networks`, as in `127.0.0.0/8`. Raises ValueError."""
        return cls(private_networks=tuple(ipaddress.ip_network(each) for each in networks))

    def check_url(self, url: str, *, webhook: bool = False) -> str | None:
        """Check an address when it is saved, and return a warning sentence or None.

        A name that does not resolve is worth a warning only: it may come into being later,
        and is checked again when we connect. Blocks for at most `lookup.SECONDS`.
        Raises AddressRefused with a sentence that is safe to show.
        """
        address = self.check_target(url, webhook=webhook)
        host, port = address.host, address.port
        try:
            self.check_addresses([host] if is_number(host) else look_up(host, port), host=host)
        except (OSError, UnicodeError):
            return f"The name {host} does not resolve; it is looked up again at each use."
        except NotLookedUp:
            return f"The name {host} could not be looked up in time; it is at each use."
        return None

    def check_target(self, url: str, *, webhook: bool = False) -> WebAddress:
        """Check what can be seen of an address without a look-up, and return its parts.

        Raises AddressRefused.
        """
        if webhook and not url.isascii():
            raise AddressRefused("Write the address in ASCII: its name as xn--, the rest as %XX.")
        address = WebAddress.of(url)
        self.check_port(address.port, webhook=webhook)
        return address

    def check_port(self, port: int, *, webhook: bool = False) -> None:
        """Refuse a port of another service; a webhook may use 80, 443 and 1024 up."""
        if port in BLOCKED_PORTS or not 0 < port < 65536:
            raise AddressRefused(f"Port {port} belongs to another kind of service.")
        if webhook and port < 1024 and port not in (80, 443):
            raise AddressRefused("A webhook's port is 80, 443 or 1024 and above.")

    def permits(self, address: Address) -> bool:
        """Return True when we may connect to this one address, and to those that it carries."""
        if is_metadata(address) or not all(map(self.permits, carried_by(address))):
            return False
        return is_public(address) or any(address in each for each in self.private_networks)

    def check_addresses(self, found: Iterable[str], *, host: str) -> list[str]:
        """Return the addresses of `host` without doubles, or refuse all when one is bad."""
        numbers = list(dict.fromkeys(found))
        for each in numbers:
            if "%" in each or not self.permits(ipaddress.ip_address(each)):
                raise AddressRefused(NOT_PUBLIC.format(host=host))
        return numbers

    async def resolve(self, *, host: str, port: int) -> list[str]:
        """Look `host` up and return its addresses, every one checked. Raises OSError too."""
        self.check_port(port)
        check_host(host)
        if is_number(host):
            return self.check_addresses([host], host=host)
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return self.check_addresses([str(each[4][0]) for each in found], host=host)


class _Stream(httpcore2.AsyncNetworkStream):
    """A stream that is closed when TLS on it is broken off, which the backend's own is not.

    A try that ends at its deadline is cancelled there, and its socket would stay open.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Opens the sockets of an httpcore2 pool, to checked addresses alone.

    TLS still asks for the certificate of the name: the pool passes it on by itself.
    """

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address that answers, within `timeout` seconds for all.

        Raises AddressRefused before a byte is sent; httpcore2's ConnectError otherwise.
        """
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._guard.resolve(host=host, port=port)
                found = addresses[:CONNECT_TRIES]
                return _Stream(await self._first(found, port, timeout, socket_options))
        except TimeoutError:
            raise httpcore2.ConnectTimeout("no answer") from None
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError("the name does not resolve") from error

    async def _first(
        self,
        addresses: list[str],
        port: int,
        timeout: float | None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None,
    ) -> httpcore2.AsyncNetworkStream:
        share = None if timeout is None else timeout / len(addresses)
        for each in addresses[:-1]:
            try:
                return await self._backend.connect_tcp(
                    each, port, timeout=share, socket_options=socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._backend.connect_tcp(
            addresses[-1], port, timeout=timeout, socket_options=socket_options
        )

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Refuse: a Unix socket is never a customer's address."""
        raise AddressRefused("A Unix socket is not an address that we connect to.")

    async def sleep(self, seconds: float) -> None:
        """Wait, for the pool's own use."""
        await asyncio.sleep(seconds)
