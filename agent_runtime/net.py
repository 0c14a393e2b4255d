"""The address guard, for every socket that we open.

An address comes from a customer, so it may point at our own network. It is checked twice:
when it is saved (`check_url`) and each time that we connect (`GuardedBackend`). The second
check resolves the name itself, wants every answer to be permitted and connects to one of the
addresses that it has checked, so a name server that changes its mind gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import httpcore2

from agent_runtime.errors import AddressRefused
from agent_runtime.networks import Address, Network, carried_by, is_metadata, is_public

CONNECT_TRIES = 4  # addresses of one name that are tried in turn

# Ports on which something else than a web server answers (the list follows the Fetch
# standard's "bad ports" and adds databases, caches, brokers and container engines).
# fmt: off
OTHER_SERVICES = frozenset((
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101,
    102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 138, 139, 143, 161, 162,
    179, 389, 427, 445, 464, 465, 500, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554,
    556, 563, 587, 601, 623, 636, 873, 989, 990, 993, 995, 1433, 1521, 1719, 1720, 1723, 2049,
    2181, 2375, 2376, 2379, 2380, 3306, 3389, 3659, 4045, 4190, 4369, 5060, 5061, 5432, 5672,
    5900, 6000, 6379, 6443, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 9042, 9092, 9200,
    9300, 10080, 10250, 11211, 25672, 27017,
))
# fmt: on

LABEL = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
HOST = re.compile(rf"(?=.{{1,253}}\Z){LABEL}(\.{LABEL})*\.?")
NUMBER = re.compile(r"([0-9]+|0[xX][0-9A-Fa-f]*)\Z")

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
        and is checked again when we connect. Blocks while the name is looked up.
        Raises AddressRefused with a sentence that is safe to show.
        """
        parts = _split(url, webhook=webhook)
        host = parts.hostname or ""
        port = _port(parts)
        self.check_port(port, webhook=webhook)
        check_host(host)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return f"The name {host} does not resolve; it is looked up again at each use."
        self.check_addresses([str(each[4][0]) for each in found], host=host)
        return None

    def check_target(self, url: str) -> None:
        """Check what can be seen of a webhook's address without a look-up.

        For right before it is connected to. Raises AddressRefused.
        """
        parts = _split(url, webhook=True)
        self.check_port(_port(parts), webhook=True)
        check_host(parts.hostname or "")

    def check_port(self, port: int, *, webhook: bool = False) -> None:
        """Refuse a port of another service; a webhook may use 80, 443 and 1024 up."""
        if port in OTHER_SERVICES or not 0 < port < 65536:
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
        if _is_number(host):
            return self.check_addresses([host], host=host)
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return self.check_addresses([str(each[4][0]) for each in found], host=host)


def check_host(host: str) -> None:
    """Refuse a host that is neither a plain name nor an IP address in its usual form.

    `2130706433`, `0x7f.1` and `127.1` are all 127.0.0.1 to a resolver: a last label that is
    a number makes an IPv4 address (as in the URL standard), and then it must be four
    decimal numbers.
    """
    if _is_number(host):
        plain = "%" not in host  # an IPv6 zone names a network card of ours
    else:
        last = host.rstrip(".").rpartition(".")[2]
        plain = HOST.fullmatch(host) is not None and NUMBER.fullmatch(last) is None
    if not plain:
        raise AddressRefused(
            "The host must be a name of letters, digits, dots and hyphens, "
            "or an IP address in its usual form."
        )


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _split(url: str, *, webhook: bool) -> SplitResult:
    if len(url) > 2000 or any(ord(char) <= 32 or ord(char) == 127 for char in url):
        raise AddressRefused("The address is too long or holds spaces or control characters.")
    if webhook and not url.isascii():  # what sends it takes no other
        raise AddressRefused("Write the address in ASCII: its name as xn--, the rest as %XX.")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  (the property is what raises)
    except ValueError:
        raise AddressRefused("The address cannot be read.") from None
    if parts.scheme not in ("http", "https"):
        raise AddressRefused("The address must start with http:// or https://.")
    if "@" in parts.netloc or "\\" in url:
        raise AddressRefused("The address must not hold a user name or password.")
    if not parts.hostname:
        raise AddressRefused("The address names no host.")
    return parts


def _port(parts: SplitResult) -> int:
    return parts.port if parts.port is not None else {"http": 80, "https": 443}[parts.scheme]


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
                return await self._first(addresses[:CONNECT_TRIES], port, timeout, socket_options)
        except TimeoutError:
            raise httpcore2.ConnectTimeout("no answer") from None
        except (OSError, UnicodeError):
            raise httpcore2.ConnectError("the name does not resolve") from None

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
