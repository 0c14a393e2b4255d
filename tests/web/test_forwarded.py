"""Who asks: what proxies say, and what anybody can say."""

from __future__ import annotations

from typing import Any

import pytest

from caylex_project.environment import Environment
from caylex_project.web.client_addresses import parsed_address
from caylex_project.web.connection import CONNECTION, Connection
from caylex_project.web.forwarded import TrustedProxies


class Cycle:
    disconnected = False


def identified(
    *trusted: str, peer: str | None = "127.0.0.1", **headers: str
) -> tuple[str | None, str, list[str]]:
    """Return client, scheme and the names of the headers that are left, after uvicorn's guess."""
    scope: dict[str, Any] = {
        "client": ("203.0.113.66", 0),  # as uvicorn believes it of any header from this machine
        "scheme": "https",
        "headers": [
            (name.replace("_", "-").encode(), each.encode("latin-1"))
            for name, value in headers.items()
            for each in value.split("|")
        ],
        CONNECTION: Connection(
            client=None if peer is None else (peer, 4711), scheme="http", request=Cycle()
        ),
    }
    TrustedProxies(trusted).identify(scope)
    client, names = scope["client"], [name.decode() for name, _ in scope["headers"]]
    return (None if client is None else client[0]), scope["scheme"], names


def test_nobody_is_believed_unless_named() -> None:
    said = {"x_forwarded_for": "203.0.113.7", "x_forwarded_proto": "https", "accept": "a"}

    assert identified(**said) == ("127.0.0.1", "http", ["x-forwarded-proto", "accept"])
    assert identified("10.0.0.0/8", **said) == ("127.0.0.1", "http", ["accept"])
    assert identified("127.0.0.1", **said)[:2] == ("203.0.113.7", "https")
    assert identified("127.0.0.1", peer="127.0.0.2", **said)[0] == "127.0.0.2"


@pytest.mark.parametrize(
    ("said", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),  # the left one is what the client said
        ("198.51.100.1|203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("203.0.113.7:4711, 10.0.0.2:80", "203.0.113.7"),
        ("[2001:DB8::7]:4711", "2001:db8::7"),
        ("2001:db8:0::7", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("unknown", "10.0.0.1"),
        ("203.0.113.7, unknown", "10.0.0.1"),
        ("203.0.113.7, ", "10.0.0.1"),
        ("_hidden, fe80::1%eth0", "10.0.0.1"),
        ("203.0.113.7'; --", "10.0.0.1"),
        ("\xff", "10.0.0.1"),
    ],
)
def test_the_last_address_that_is_no_proxy_s_is_the_client_and_a_bad_one_counts_as_none(
    said: str, client: str
) -> None:
    assert identified("10.0.0.0/8", peer="10.0.0.1", x_forwarded_for=said)[0] == client


def test_a_proxy_that_says_nothing_is_the_client() -> None:
    assert identified("10.0.0.0/8", peer="10.0.0.1")[:2] == ("10.0.0.1", "http")


def test_the_other_end_of_a_unix_socket_is_believed_where_it_is_named() -> None:
    said = {"x_forwarded_for": "203.0.113.7"}

    assert identified(peer=None, **said)[0] is None
    assert identified("127.0.0.1", peer=None, **said)[0] is None
    assert identified("unix", peer=None, **said)[0] == "203.0.113.7"
    assert identified("unix", peer="127.0.0.1", **said)[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "text", ["", "x", "1.2.3", "1.2.3.4.5", "[", "[]", "::g", "a:b:c", "1" * 999]
)
def test_no_text_raises(text: str) -> None:
    assert parsed_address(text) is None


def test_the_setting_takes_networks_and_unix_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAYLEX_TRUSTED_PROXIES", "10.0.0.0/8, ::1,unix")
    assert Environment().caylex_trusted_proxies == ("10.0.0.0/8", "::1", "unix")
    monkeypatch.setenv("CAYLEX_TRUSTED_PROXIES", "nginx")
    with pytest.raises(ValueError, match="nginx"):
        Environment()
