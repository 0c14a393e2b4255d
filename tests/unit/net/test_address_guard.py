"""The address guard: what may be saved, and what may be connected to."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpcore2
import pytest

from agent_runtime.errors import AddressRefused
from agent_runtime.net import dns_lookup as lookup
from agent_runtime.net.address_guard import AddressGuard, GuardedBackend

GUARD = AddressGuard()
AT_HOME = AddressGuard.of(networks=("127.0.0.0/8",))


def answers(*addresses: str) -> Callable[..., list[Any]]:
    """Return a stand-in for the system's name look-up."""

    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, 1, 6, "", (each, port))
            for each in addresses
        ]

    return getaddrinfo


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/mcp",
        "http://10.1.2.3/",
        "http://172.16.0.1/",
        "http://192.168.1.1/",
        "http://100.64.0.1/",
        "http://0.0.0.0/",
        "http://255.255.255.255/",
        "http://224.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://168.63.129.16/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:8.8.8.8]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[64:ff9b::808:808]/",
        "http://[2002:7f00:1::]/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://[fec0::1]/",
        "http://[ff02::1]/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://017700000001/",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://127.0.0.01/",
        "http://user:pass@example.com/",
        "http://user@example.com/",
        "http://example.com\\@127.0.0.1/",
        "http://example.com:22/",
        "http://example.com:25/",
        "http://example.com:53/",
        "http://example.com:6379/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "//example.com/",
        "http://",
        "http:///path",
        "http://[::1",
        "http://exa mple.com/",
        "http://example.com/\r\nHost: x",
        "http://example..com/",
        "http://１２７.0.0.1/",
        "http://[fe80::1%25eth0]/",
        "http://" + "a" * 2000 + ".com/",
        "",
    ],
)
def test_an_address_that_is_not_a_public_web_address_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        GUARD.check_url(url)


@pytest.mark.parametrize("url", ["http://8.8.8.8/", "https://[2606:4700::1111]:8443/x?y={z}"])
def test_a_public_number_is_accepted_without_a_warning(url: str) -> None:
    assert GUARD.check_url(url) is None


def test_a_permitted_network_is_accepted_and_the_next_one_is_not() -> None:
    assert AT_HOME.check_url("http://127.0.0.1:8902/mcp") is None
    with pytest.raises(AddressRefused, match="not public"):
        AT_HOME.check_url("http://10.0.0.1/")


def test_a_metadata_address_is_refused_even_in_a_permitted_network() -> None:
    guard = AddressGuard.of(networks=("169.254.0.0/16", "0.0.0.0/0"))
    with pytest.raises(AddressRefused):
        guard.check_url("http://169.254.169.254/")


@pytest.mark.parametrize(
    "block",
    [
        *(
            "0.0.0.0/8",
            "0.0.0.0/32",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
        ),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.0.0/29", "192.0.0.8/32", "192.0.0.9/32"),
        *("192.0.0.10/32", "192.0.0.170/32", "192.0.0.171/32", "192.0.2.0/24", "192.31.196.0/24"),
        *("192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24"),
        *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4"),
        *("255.255.255.255/32", "224.0.0.0/4"),
        *("::1/128", "::/128", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64"),
        *("100:0:0:1::/64", "2001::/23", "2001::/32", "2001:1::1/128", "2001:1::2/128"),
        *("2001:1::3/128", "2001:2::/48", "2001:3::/32", "2001:4:112::/48", "2001:10::/28"),
        *("2001:20::/28", "2001:30::/28", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48"),
        *("3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
        *("4000::/3", "6000::/3", "8000::/3", "a000::/3", "c000::/3", "e000::/4", "f000::/5"),
    ],
)
def test_no_address_of_a_special_block_of_iana_s_registries_is_public(block: str) -> None:
    network = ipaddress.ip_network(block)

    for each in (network[0], network[network.num_addresses // 2], network[-1]):
        assert not GUARD.permits(each), each


@pytest.mark.parametrize(
    "number",
    [
        *("1.1.1.1", "8.8.8.8", "100.63.255.255", "172.32.0.1", "191.255.255.255", "192.0.1.1"),
        *(
            "198.20.0.1",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
        ),
        *("2a00:1450::1", "2003::1", "3ffe::1"),
    ],
)
def test_what_lies_beside_the_special_blocks_is_public(number: str) -> None:
    assert GUARD.permits(ipaddress.ip_address(number))


METADATA = ("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200")


def embeddings(number: str) -> list[str]:
    """Return IPv6 addresses that carry an IPv4 one, by every form that a host or router reads."""
    four = ipaddress.IPv4Address(number).packed
    high, low = four[:2].hex(), four[2:].hex()
    inverted = bytes(each ^ 0xFF for each in four)
    forms = [
        f"::ffff:{high}:{low}",
        f"::{high}:{low}",
        f"::ffff:0:{high}:{low}",
        f"64:ff9b::{high}:{low}",
        f"64:ff9b:1::{high}:{low}",
        f"2001:db8:1:2:3:4:{high}:{low}",
        f"2002:{high}:{low}::1",
        f"2001:0:{high}:{low}:0:0:1:1",
        f"2001:0:1:1:0:0:{inverted[:2].hex()}:{inverted[2:].hex()}",
        f"fe80::200:5efe:{high}:{low}",
        f"fe80::{high}:{low}",
    ]
    for start in (4, 5, 6, 7, 9):  # RFC 6052, prefixes of 32 to 64 bits: byte 8 is zero
        whole = bytearray(b"\x2a\x00" + bytes(14))
        places = [place for place in range(start, start + 5) if place != 8][:4]
        for place, byte in zip(places, four, strict=True):
            whole[place] = byte
        forms.append(str(ipaddress.IPv6Address(bytes(whole))))
    return forms


@pytest.mark.parametrize("number", METADATA)
def test_no_form_of_a_metadata_address_is_opened_by_a_network_that_holds_it(number: str) -> None:
    guard = AddressGuard.of(networks=("::/0", "0.0.0.0/0"))

    assert not guard.permits(ipaddress.ip_address(number))
    for each in embeddings(number):
        assert not guard.permits(ipaddress.ip_address(each)), each


def test_an_ipv6_network_opens_no_ipv4_address_that_is_carried_in_it() -> None:
    all_of_ipv6 = AddressGuard.of(networks=("::/0",))
    both = AddressGuard.of(networks=("::/0", "127.0.0.0/8"))

    for form in ("::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::1"):
        assert not all_of_ipv6.permits(ipaddress.ip_address(form)), form
        assert both.permits(ipaddress.ip_address(form)), form
    assert all_of_ipv6.permits(ipaddress.ip_address("::1"))
    assert all_of_ipv6.permits(ipaddress.ip_address("fd00::1"))
    assert all_of_ipv6.permits(ipaddress.ip_address("::ffff:8.8.8.8"))


def test_a_webhook_may_use_80_443_and_1024_up() -> None:
    for port in (80, 443, 1024, 8443):
        assert GUARD.check_url(f"http://8.8.8.8:{port}/", webhook=True) is None
    assert GUARD.check_url("http://8.8.8.8:81/") is None
    with pytest.raises(AddressRefused, match="webhook"):
        GUARD.check_url("http://8.8.8.8:81/", webhook=True)


def test_a_name_that_does_not_resolve_is_accepted_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    warning = GUARD.check_url("https://soon.example/")
    assert warning == "The name soon.example does not resolve; it is looked up again at each use."


def test_look_ups_that_never_end_hold_a_caller_for_a_moment_and_later_ones_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = threading.Event()
    under_way: list[str] = []

    def stall(host: str, *_: Any, **__: Any) -> None:
        under_way.append(host)
        ended.wait(30)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", stall)
    monkeypatch.setattr(lookup, "SECONDS", 0.05)
    try:
        warnings = [GUARD.check_url(f"https://slow-{n}.example/") for n in range(12)]
        assert warnings[-1] == (
            "The name slow-11.example could not be looked up in time; it is at each use."
        )
        assert len(set(warnings)) == 12
        assert len(under_way) <= lookup.MAX_CONCURRENT
        assert GUARD.check_url("https://8.8.8.8/") is None
    finally:
        ended.set()
    for _ in range(1_000):
        if lookup._places._value == lookup.MAX_CONCURRENT:
            break
        time.sleep(0.01)
    monkeypatch.setattr(socket, "getaddrinfo", answers("8.8.8.8"))
    assert GUARD.check_url("https://quick.example/") is None


def test_a_name_with_mixed_answers_is_refused_when_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answers("8.8.8.8", "10.0.0.1"))
    with pytest.raises(AddressRefused, match=r"mixed\.example"):
        GUARD.check_url("https://mixed.example/")


class Listener:
    """A socket on loopback that counts who came."""

    def __init__(self) -> None:
        self.visits = 0
        self.port = 0

    async def __call__(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        writer.close()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    found = Listener()
    server = await asyncio.start_server(found, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found


async def connect(guard: AddressGuard, host: str, port: int) -> None:
    stream = await GuardedBackend(guard).connect_tcp(host, port, timeout=5)
    await stream.aclose()


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "127.1", "::ffff:127.0.0.1"])
async def test_connecting_to_a_private_number_is_refused_and_nothing_is_sent(
    listener: Listener, host: str
) -> None:
    with pytest.raises(AddressRefused):
        await connect(GUARD, host, listener.port)
    await asyncio.sleep(0)
    assert listener.visits == 0


async def test_a_name_that_was_public_when_saved_and_is_private_now_is_refused(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answers("8.8.8.8"))
    url = f"http://rebind.example:{listener.port}/"
    assert GUARD.check_url(url) is None
    monkeypatch.setattr(socket, "getaddrinfo", answers("127.0.0.1"))
    with pytest.raises(AddressRefused):
        await connect(GUARD, "rebind.example", listener.port)
    assert listener.visits == 0


async def test_a_name_with_one_private_answer_among_public_ones_is_refused(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answers("127.0.0.1", "10.0.0.1"))
    with pytest.raises(AddressRefused):
        await connect(AT_HOME, "mixed.example", listener.port)
    assert listener.visits == 0


async def test_the_checked_address_is_the_one_that_is_connected_to(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    lookup = answers("127.0.0.1")

    def getaddrinfo(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        asked.append(host)
        return lookup(host, port)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    await connect(AT_HOME, "tools.example", listener.port)
    assert asked.count("tools.example") == 1


async def test_the_next_address_is_tried_when_the_first_is_dead(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answers("127.0.0.2", "127.0.0.1"))
    await connect(AT_HOME, "two.example", listener.port)


async def test_a_refused_port_is_refused_when_connecting_too() -> None:
    with pytest.raises(AddressRefused):
        await connect(AT_HOME, "127.0.0.1", 6379)


async def test_a_name_that_does_not_resolve_is_a_connect_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(httpcore2.ConnectError):
        await connect(GUARD, "nowhere.example", 443)
