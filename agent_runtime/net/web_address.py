"""An address that a customer typed, read once: what is checked is what is connected to.

Two readers of one address disagree sooner or later, and then another place is connected to than
the one that was checked, or another resource is asked for than the one that was typed. So there
is one reader, and what it returns is what goes to the socket. It follows RFC 3986 and refuses
whatever readers differ about.
"""

from __future__ import annotations

import ipaddress
import re
import string
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from agent_runtime.errors import AddressRefused

MAX_LENGTH = 2_000  # characters
DEFAULT_PORTS = {"http": 80, "https": 443}

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(:[0-9]*)?")
_LABEL = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*\.?")
_NUMBER = re.compile(r"([0-9]+|0[xX][0-9A-Fa-f]*)\Z")
_AS_IT_IS = string.punctuation  # beside letters and digits: sent as they were typed


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAddress:
    """The parts of an `http` or `https` address.

    `host` is in lower case and without brackets. `target` is path and query as they were typed,
    byte for byte; what is not ASCII is in percent-encoded UTF-8.
    """

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def of(cls, url: str) -> WebAddress:
        """Return the parts of an address. Raises AddressRefused, with a sentence to show."""
        if len(url) > MAX_LENGTH or any(ord(char) <= 32 or ord(char) == 127 for char in url):
            raise AddressRefused("The address is too long or holds spaces or control characters.")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise AddressRefused("The address cannot be read.") from None
        if parts.scheme not in DEFAULT_PORTS:
            raise AddressRefused("The address must start with http:// or https://.")
        if "@" in parts.netloc or "\\" in url:
            raise AddressRefused("The address must not hold a user name or password.")
        if not parts.hostname:
            raise AddressRefused("The address names no host.")
        if not _AUTHORITY.fullmatch(parts.netloc):
            raise AddressRefused("The address cannot be read.")
        check_host(parts.hostname)
        typed = url[len(f"{parts.scheme}://{parts.netloc}") :].partition("#")[0]
        return cls(
            scheme=parts.scheme,
            host=parts.hostname,
            port=DEFAULT_PORTS[parts.scheme] if port is None else port,
            target=quote(typed if typed.startswith("/") else f"/{typed}", safe=_AS_IT_IS),
        )

    @property
    def authority(self) -> str:
        """Host and port as the `Host` header has them (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port (RFC 6454): the same text for the same server."""
        return f"{self.scheme}://{self.host.rstrip('.')}:{self.port}"


def check_host(host: str) -> None:
    """Refuse a host that is neither a plain name nor an IP address in its usual form.

    `2130706433`, `0x7f.1` and `127.1` are all 127.0.0.1 to a resolver: a last label that is
    a number makes an IPv4 address (as in the URL standard), and then it must be four
    decimal numbers.
    """
    if is_number(host):
        plain = "%" not in host  # an IPv6 zone names a network card of ours
    else:
        last = host.rstrip(".").rpartition(".")[2]
        plain = _HOST.fullmatch(host) is not None and _NUMBER.fullmatch(last) is None
    if not plain:
        raise AddressRefused(
            "The host must be a name of letters, digits, dots and hyphens, "
            "or an IP address in its usual form."
        )


def is_number(host: str) -> bool:
    """Tell whether the host is an IP address, and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
