"""An address is read once: the parts that are checked are the parts that are used."""

from __future__ import annotations

import pytest

from agent_runtime.errors import AddressRefused
from agent_runtime.net.web_address import WebAddress


@pytest.mark.parametrize(
    ("url", "host", "port", "target", "authority"),
    [
        ("http://example.com", "example.com", 80, "/", "example.com"),
        ("https://Example.COM:443/A;b=1?c;d#e", "example.com", 443, "/A;b=1?c;d", "example.com"),
        ("HTTPS://example.com:/x", "example.com", 443, "/x", "example.com"),
        ("http://example.com:0080?q", "example.com", 80, "/?q", "example.com"),
        ("http://example.com:443/", "example.com", 443, "/", "example.com:443"),
        ("https://example.com.:8443/?", "example.com.", 8443, "/?", "example.com.:8443"),
        ("http://[2001:DB8::1]:8080/a", "2001:db8::1", 8080, "/a", "[2001:db8::1]:8080"),
        ("http://[::1]/", "::1", 80, "/", "[::1]"),
        ("http://h/a/../b/%2e%2E//c", "h", 80, "/a/../b/%2e%2E//c", "h"),
        ("http://h/caf\u00e9?\u00fc=%C3%BC", "h", 80, "/caf%C3%A9?%C3%BC=%C3%BC", "h"),
        ("http://h/?a='<>\"{}|^`[]", "h", 80, "/?a='<>\"{}|^`[]", "h"),
    ],
)
def test_the_parts_of_an_address(
    url: str, host: str, port: int, target: str, authority: str
) -> None:
    address = WebAddress.of(url)

    assert (address.host, address.port, address.target) == (host, port, target)
    assert address.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "http:/example.com",
        "http:///example.com",
        "http://:80/",
        "http://?a",
        "http://example.com:80:80/",
        "http://example.com:8o/",
        "http://example.com:\u0661/",
        "http://[::1/",
        "http://[::1]x/",
        "http://[::1]x:80/",
        "http://x[::1]/",
        "http://[example.com]/",
        "http://[v1.x]/",
        "http://[::1%25lo]/",
        "http://a@example.com/",
        "http://example.com\\@10.0.0.1/",
        "http://ex%61mple.com/",
        "http://exa\u2100mple.com/",
        "http://example.com /",
        "http://example.com/a\tb",
        "http://example.com/\r\nHost: x",
        "http://example.com/" + "x" * 2_000,
        "ftp://example.com/",
    ],
)
def test_what_readers_differ_about_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        WebAddress.of(url)


def test_an_origin_is_scheme_host_and_port_and_not_a_text() -> None:
    same = [
        "https://example.com",
        "HTTPS://EXAMPLE.com/a",
        "https://example.com:443?b",
        "https://example.com:0443/",
        "https://example.com./c#d",
    ]
    others = [
        "http://example.com:443/",
        "https://example.com:8443/",
        "https://example.com.evil.test/",
        "https://example.co/",
    ]

    assert {WebAddress.of(each).origin for each in same} == {"https://example.com:443"}
    assert len({WebAddress.of(each).origin for each in [*same, *others]}) == 5
