"""The authorization server of an MCP server is found as the standards say, and not otherwise."""

from collections.abc import Mapping
from typing import Any

import pytest

from agent_runtime.net.address_guard import AddressGuard
from agent_runtime.oauth.discovery import (
    Challenge,
    Discovered,
    discover,
    is_for,
    server_addresses,
)
from agent_runtime.oauth.errors import NotDiscoverable, OAuthError, Unreachable
from agent_runtime.oauth.http import MAX_BYTES, OAuthHttp
from tests.support.tool_servers import AT_HOME
from tests.unit.oauth.authority import Authority, an_authority


def http(guard: AddressGuard = AT_HOME, *, plain: bool = True) -> OAuthHttp:
    return OAuthHttp(guard=guard, http_allowed=lambda _: plain)


async def found(authority: Authority, **more: Any) -> Discovered:
    where = f"{authority.base}/.well-known/oauth-protected-resource/mcp"
    said = where if authority.resource_metadata == "header" else ""
    challenge = more.pop("challenge", Challenge(resource_metadata=said))
    async with http() as client:
        return await discover(client, server_url=authority.mcp, challenge=challenge, **more)


@pytest.mark.parametrize("where", ["header", "path", "root"])
async def test_the_resources_metadata_is_found_where_it_may_be(where: str) -> None:
    async with an_authority(resource_metadata=where) as authority:
        result = await found(authority)
    assert result.resource == authority.mcp
    assert result.server.issuer == authority.issuer
    assert result.server.token_endpoint == f"{authority.base}/token"
    assert result.scopes == ("read", "write", "offline_access")


async def test_a_server_without_resource_metadata_is_its_own_authorization_server() -> None:
    async with an_authority(resource_metadata="nowhere") as authority:
        result = await found(authority)
    assert result.resource == authority.mcp
    assert result.server.issuer == authority.base
    assert result.scopes == ("offline_access",)


async def test_the_scopes_of_the_challenge_and_then_of_staff_come_first() -> None:
    async with an_authority(metadata={"scopes_supported": None}) as authority:
        challenge = Challenge(scope=("mail.read",))
        assert (await found(authority, challenge=challenge)).scopes == ("mail.read",)
        chosen = await found(authority, challenge=challenge, scopes=("mail.send",))
        assert chosen.scopes == ("mail.send",)


@pytest.mark.parametrize(
    ("orders", "says"),
    [
        ({"resource": {"resource": "https://good.example/mcp"}}, "for another resource"),
        ({"resource": {"resource": None}}, "for another resource"),
        ({"resource": {"authorization_servers": []}}, "names no authorization server"),
        ({"resource": {"authorization_servers": "x"}}, "names no authorization server"),
        ({"metadata": {"issuer": "https://other.example"}}, "calls itself by another name"),
        ({"metadata": {"code_challenge_methods_supported": None}}, "PKCE"),
        ({"metadata": {"code_challenge_methods_supported": ["plain"]}}, "PKCE"),
        ({"metadata": {"grant_types_supported": ["client_credentials"]}}, "code grant"),
        ({"metadata": {"token_endpoint": None}}, "lacks token_endpoint"),
        ({"metadata": {"token_endpoint": 5}}, "lacks token_endpoint"),
        ({"metadata": {"authorization_endpoint": "javascript:alert(1)"}}, "valid address"),
        ({"metadata": {"authorization_endpoint": "ftp://a.example/x"}}, "address must start with"),
        ({"metadata": {"token_endpoint": "https://user@a.example/token"}}, "valid address"),
    ],
)
async def test_metadata_that_does_not_fit_is_refused(orders: Mapping[str, Any], says: str) -> None:
    async with an_authority(**orders) as authority:
        with pytest.raises(NotDiscoverable, match=says):
            await found(authority)
        assert authority.posts("/token") == authority.posts("/register") == []


async def test_an_issuer_that_differs_by_a_slash_is_refused_unless_staff_entered_it() -> None:
    async with an_authority() as authority:
        authority.metadata = {"issuer": f"{authority.base}/"}
        with pytest.raises(NotDiscoverable, match="another name"):
            await found(authority)
        result = await found(authority, expected_issuer=f"{authority.base}/")
    assert result.server.issuer == f"{authority.base}/"


async def test_plain_http_is_for_private_networks_alone() -> None:
    async with an_authority() as authority:
        async with http(plain=False) as client:
            with pytest.raises(NotDiscoverable, match="must be an https address"):
                await discover(client, server_url=authority.mcp, challenge=Challenge())
        assert authority.requests == []


async def test_a_redirect_to_another_origin_is_not_followed() -> None:
    path = "/.well-known/oauth-protected-resource/mcp"
    async with an_authority() as elsewhere, an_authority() as authority:
        authority.redirects = {path: f"{elsewhere.base}{path}"}
        with pytest.raises(NotDiscoverable, match=r"redirects to another origin, 127\.0\.0\.1"):
            await found(authority)
        assert elsewhere.requests == []


async def test_a_redirect_within_the_origin_is_followed_and_not_without_end() -> None:
    path, other = (f"/.well-known/oauth-protected-resource{end}" for end in ("/mcp", "/other"))
    async with an_authority(redirects={path: other}) as authority:
        assert (await found(authority)).resource == authority.mcp
    async with an_authority(redirects={path: path}) as authority:
        with pytest.raises(NotDiscoverable, match="more than 3 times"):
            await found(authority)


async def test_a_redirect_to_a_private_address_meets_the_guard() -> None:
    strict = AddressGuard.of(networks=())
    async with an_authority() as authority:
        async with http(strict) as client:
            with pytest.raises(NotDiscoverable, match="not public"):
                await discover(client, server_url=authority.mcp, challenge=Challenge())
        assert authority.requests == []


@pytest.mark.parametrize(
    "hostile", ["http://169.254.169.254/latest", "http://[::1]:22/", "http://2130706433/"]
)
async def test_a_hostile_address_in_the_challenge_is_never_asked(hostile: str) -> None:
    async with an_authority() as authority:
        async with http() as client:
            with pytest.raises(OAuthError):
                await discover(
                    client,
                    server_url=authority.mcp,
                    challenge=Challenge(resource_metadata=hostile),
                )
        assert authority.requests == []


async def test_ten_megabytes_of_metadata_are_not_read() -> None:
    path = "/.well-known/oauth-protected-resource/mcp"
    async with an_authority(raw={path: b"[" * 10_000_000}) as authority:
        with pytest.raises(Unreachable, match=f"more than {MAX_BYTES:,} bytes"):
            await found(authority)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"[" * 60_000, b"\xff\xfe"])
async def test_what_is_no_json_object_is_no_metadata(body: bytes) -> None:
    path = "/.well-known/oauth-authorization-server"
    async with an_authority(raw={path: body}) as authority:
        with pytest.raises(NotDiscoverable, match="publishes no metadata"):
            await found(authority)


async def test_a_silent_authorization_server_is_a_sentence() -> None:
    async with an_authority() as authority:
        pass
    async with http() as client:
        with pytest.raises(Unreachable, match="did not answer"):
            await discover(client, server_url=authority.mcp, challenge=Challenge())


@pytest.mark.parametrize(
    ("resource", "fits"),
    [
        ("https://a.example/mcp", True),
        ("https://a.example/mcp/", True),
        ("https://a.example", True),
        ("https://a.example/", True),
        ("https://A.example:443/mcp", True),
        ("https://a.example/mc", False),
        ("https://a.example/mcp/deeper", False),
        ("http://a.example/mcp", False),
        ("https://b.example/mcp", False),
        ("https://a.example:8443/mcp", False),
        ("https://a.example/mcp?x=1", False),
        ("https://user@a.example/mcp", False),
        ("https://a.example.evil/mcp", False),
        ("not an address", False),
        ("https://[", False),
    ],
)
def test_a_resource_is_the_server_or_a_prefix_of_its_path(resource: str, fits: bool) -> None:
    assert is_for(resource, "https://a.example/mcp") is fits


def test_the_metadata_of_an_issuer_with_a_path_may_be_in_three_places() -> None:
    assert server_addresses("https://a.example/tenant1") == [
        "https://a.example/.well-known/oauth-authorization-server/tenant1",
        "https://a.example/.well-known/openid-configuration/tenant1",
        "https://a.example/tenant1/.well-known/openid-configuration",
    ]
    assert server_addresses("https://a.example/") == [
        "https://a.example/.well-known/oauth-authorization-server",
        "https://a.example/.well-known/openid-configuration",
    ]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", Challenge()),
        ("Basic realm=x", Challenge()),
        ("Bearer", Challenge()),
        (
            'Bearer resource_metadata="https://a.example/x", scope="read  write"',
            Challenge(resource_metadata="https://a.example/x", scope=("read", "write")),
        ),
        (
            'Basic realm="x", Bearer error="insufficient_scope",scope=admin',
            Challenge(error="insufficient_scope", scope=("admin",)),
        ),
        ('Bearer scope="a\\"b c"', Challenge(scope=("c",))),
        ("Bearer " + 'a="' * 5_000, Challenge()),
    ],
)
def test_a_challenge_is_read(header: str, expected: Challenge) -> None:
    assert Challenge.parse(header) == expected
