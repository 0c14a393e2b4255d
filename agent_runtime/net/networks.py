"""Which addresses are not of the public Internet, whatever the Python version takes them for.

After IANA's registries of special-purpose addresses for IPv4 and IPv6 (RFC 6890, as of 2025): every
block that is not globally reachable, was once handed out for a protocol, or holds no host.
"""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

# fmt: off
SPECIAL: tuple[Network, ...] = tuple(map(ipaddress.ip_network, (
    "0.0.0.0/8",           # this network
    "10.0.0.0/8",          # private use
    "100.64.0.0/10",       # shared, of carriers
    "127.0.0.0/8",         # loopback
    "169.254.0.0/16",      # link-local
    "172.16.0.0/12",       # private use
    "192.0.0.0/24",        # IETF protocols, 192.0.0.8 and the two anycast addresses included
    "192.0.2.0/24",        # documentation
    "192.31.196.0/24",     # AS112 name servers
    "192.52.193.0/24",     # multicast tunnels
    "192.88.99.0/24",      # 6to4 relays, deprecated
    "192.168.0.0/16",      # private use
    "192.175.48.0/24",     # AS112 name servers
    "198.18.0.0/15",       # benchmarks
    "198.51.100.0/24",     # documentation
    "203.0.113.0/24",      # documentation
    "224.0.0.0/3",         # multicast, reserved, broadcast
    "::/3",                # unspecified, loopback, mapped, NAT64, discard and dummy prefixes
    "2001::/23",           # IETF protocols: Teredo, ORCHID, benchmarks, anycast
    "2001:db8::/32",       # documentation
    "2002::/16",           # 6to4
    "2620:4f:8000::/48",   # AS112 name servers
    "3fff::/20",           # documentation
    "4000::/2",            # not handed out; 5f00::/16 is segment routing
    "8000::/1",            # not handed out; private use, link-local, site-local, multicast
)))
# fmt: on

# Where clouds hand out credentials. Refused even when a permitted network holds them; some
# of them (168.63.129.16) are global by number.
METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(each)
    for each in (
        "169.254.169.254",
        "169.254.169.253",
        "169.254.170.2",
        "169.254.170.23",
        "169.254.0.23",
        "169.254.42.42",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd00:42::42",
        "fd20:ce::254",
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_METADATA_IPV4 = frozenset(each.packed for each in METADATA_ADDRESSES if each.version == 4)


def is_public(address: Address) -> bool:
    """Tell whether a host of the public Internet may have the address."""
    return address.is_global and not any(address in network for network in SPECIAL)


def is_metadata(address: Address) -> bool:
    """Tell whether a cloud may hand out credentials there, or at an IPv4 address within it.

    Translators and tunnels read an IPv4 address out of an IPv6 one: mapped and compatible, 6to4,
    Teredo (its bits inverted), ISATAP, and NAT64 with any prefix (RFC 6052: at five places, four of
    them around the byte in the middle). So every place is looked at, whatever the prefix.
    """
    if address in METADATA_ADDRESSES:
        return True
    if isinstance(address, IPv4Address):
        return False
    whole = address.packed
    for each in (whole, whole[:8] + whole[9:], bytes(byte ^ 0xFF for byte in whole)):
        if any(each[start : start + 4] in _METADATA_IPV4 for start in range(len(each) - 3)):
            return True
    return False


def carried_by(address: Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that packets to an IPv6 address may end at, by its known forms."""
    if isinstance(address, IPv4Address):
        return ()
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(IPv4Address(address.packed[12:]))
    return tuple(each for each in found if each is not None)
