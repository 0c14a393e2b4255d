"""Codes become tokens and tokens are renewed, for the right resource, client and issuer."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from agent_runtime.oauth.clients import (
    Client,
    ClientKind,
    auth_method_of,
    document_client,
    register,
)
from agent_runtime.oauth.discovery import AuthorizationServer, Challenge, discover
from agent_runtime.oauth.errors import ClientNeeded, GrantRefused, OAuthError, Unreachable
from agent_runtime.oauth.http import OAuthHttp
from agent_runtime.oauth.tokens import (
    authorization_url,
    challenge_of,
    check_issuer,
    exchange,
    new_verifier,
    refresh,
    revoke,
)
from tests.support.tool_servers import AT_HOME
from tests.unit.oauth.authority import Authority, an_authority

CALLBACK = "https://tasks.example.com/oauth/callback"


def http() -> OAuthHttp:
    return OAuthHttp(guard=AT_HOME, http_allowed=lambda _: True)


async def connected(authority: Authority, client_http: OAuthHttp, **more: Any) -> tuple[Any, ...]:
    """Discover, register, consent; returns server, client, code, verifier."""
    found = await discover(client_http, server_url=authority.mcp, challenge=Challenge())
    client = await register(
        client_http, server=found.server, redirect_uri=CALLBACK, scopes=found.scopes
    )
    verifier = new_verifier()
    url = authorization_url(
        server=found.server,
        client=client,
        redirect_uri=CALLBACK,
        state="state-1",
        verifier=verifier,
        resource=found.resource,
        scopes=found.scopes,
    )
    back = authority.consent(url)
    assert back["state"] == "state-1"
    check_issuer(found.server, back.get("iss"))
    return found.server, client, back["code"], verifier


async def test_a_code_becomes_tokens_that_open_the_resource_and_are_renewed() -> None:
    async with an_authority() as authority, http() as client_http:
        server, client, code, verifier = await connected(authority, client_http)
        tokens = await exchange(
            client_http,
            server=server,
            client=client,
            code=code,
            verifier=verifier,
            redirect_uri=CALLBACK,
            resource=authority.mcp,
        )
        assert authority.access_tokens[tokens.access] == "jane"
        assert tokens.expires_in == 3600
        renewed = await refresh(
            client_http,
            token_endpoint=server.token_endpoint,
            client=client,
            refresh_token=tokens.refresh,
            resource=authority.mcp,
        )
        assert renewed.refresh not in ("", tokens.refresh)
        assert [form["resource"] for form in authority.posts("/token")] == [authority.mcp] * 2
        await revoke(
            client_http,
            endpoint=server.revocation_endpoint,
            client=client,
            token=renewed.refresh,
        )
        assert authority.refresh_tokens == {}


async def test_the_browser_is_sent_with_pkce_state_and_resource() -> None:
    server = AuthorizationServer(
        issuer="https://a.example",
        authorization_endpoint="https://a.example/authorize?tenant=7&client_id=evil#top",
        token_endpoint="https://a.example/token",
    )
    client = Client(issuer=server.issuer, client_id="c 1", kind=ClientKind.REGISTERED)
    url = authorization_url(
        server=server,
        client=client,
        redirect_uri=CALLBACK,
        state="s",
        verifier="v" * 43,
        resource="https://mcp.example/mcp",
        scopes=("read", "offline_access"),
    )
    assert url.startswith("https://a.example/authorize?")
    assert parse_qs(urlsplit(url).query) == {
        "tenant": ["7"],
        "response_type": ["code"],
        "client_id": ["c 1"],
        "redirect_uri": [CALLBACK],
        "state": ["s"],
        "code_challenge": [challenge_of("v" * 43)],
        "code_challenge_method": ["S256"],
        "resource": ["https://mcp.example/mcp"],
        "scope": ["read offline_access"],
        "prompt": ["consent"],
    }
    assert urlsplit(url).fragment == ""


def test_the_challenge_is_the_one_of_the_standards_example() -> None:
    # RFC 7636, appendix B.
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert 43 <= len(new_verifier()) <= 128
    assert new_verifier() != new_verifier()


@pytest.mark.parametrize("answered", ["https://evil.example", "", None])
def test_an_answer_of_another_issuer_is_refused_before_the_code_is_redeemed(
    answered: str | None,
) -> None:
    server = AuthorizationServer(
        issuer="https://a.example",
        authorization_endpoint="https://a.example/authorize",
        token_endpoint="https://a.example/token",
        sends_issuer=True,
    )
    with pytest.raises(OAuthError, match="another authorization server"):
        check_issuer(server, answered)


def test_a_server_that_sends_no_issuer_need_not_but_must_not_send_a_wrong_one() -> None:
    server = AuthorizationServer(
        issuer="https://a.example",
        authorization_endpoint="https://a.example/authorize",
        token_endpoint="https://a.example/token",
    )
    check_issuer(server, None)
    check_issuer(server, "https://a.example")
    with pytest.raises(OAuthError, match="another"):
        check_issuer(server, "https://b.example")


async def test_a_code_with_another_verifier_or_used_twice_is_an_invalid_grant() -> None:
    async with an_authority() as authority, http() as client_http:
        server, client, code, _ = await connected(authority, client_http)
        for _ in range(2):
            with pytest.raises(GrantRefused) as refused:
                await exchange(
                    client_http,
                    server=server,
                    client=client,
                    code=code,
                    verifier=new_verifier(),
                    redirect_uri=CALLBACK,
                    resource=authority.mcp,
                )
            assert refused.value.code == "invalid_grant"


async def test_a_server_without_registration_asks_for_staff() -> None:
    async with an_authority(registers=False) as authority, http() as client_http:
        with pytest.raises(ClientNeeded, match="enter its client id"):
            await connected(authority, client_http)


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (b"{}", Unreachable, "gave no access token"),
        (b'{"access_token":"a b","token_type":"Bearer"}', Unreachable, "gave no access token"),
        (b'{"access_token":"a\\u00e9","token_type":"Bearer"}', Unreachable, "no access token"),
        (b'{"access_token":"abc","token_type":"mac"}', Unreachable, "does not use"),
        (b"<html>", Unreachable, "gave no access token"),
    ],
)
async def test_a_token_answer_that_is_none_is_a_sentence(
    body: bytes, kind: type[Exception], says: str
) -> None:
    async with an_authority(raw={"/token": body}) as authority, http() as client_http:
        server, client, code, verifier = await connected(authority, client_http)
        with pytest.raises(kind, match=says):
            await exchange(
                client_http,
                server=server,
                client=client,
                code=code,
                verifier=verifier,
                redirect_uri=CALLBACK,
                resource=authority.mcp,
            )


async def test_a_token_endpoint_that_redirects_gets_no_second_request() -> None:
    async with an_authority() as elsewhere, an_authority() as authority, http() as client_http:
        server, client, code, verifier = await connected(authority, client_http)
        authority.redirects = {"/token": f"{elsewhere.base}/token"}
        with pytest.raises(Unreachable, match="redirect"):
            await exchange(
                client_http,
                server=server,
                client=client,
                code=code,
                verifier=verifier,
                redirect_uri=CALLBACK,
                resource=authority.mcp,
            )
        assert elsewhere.requests == []


async def test_a_lifetime_may_be_a_text_or_missing() -> None:
    for told, expected in [("60", 60), (None, None), (-5, 0), (10**30, 315_360_000)]:
        async with an_authority(expires_in=told) as authority, http() as client_http:
            server, client, code, verifier = await connected(authority, client_http)
            tokens = await exchange(
                client_http,
                server=server,
                client=client,
                code=code,
                verifier=verifier,
                redirect_uri=CALLBACK,
                resource=authority.mcp,
            )
            assert tokens.expires_in == expected


def test_secrets_are_in_no_repr() -> None:
    client = Client(
        issuer="i", client_id="c", kind=ClientKind.REGISTERED, secret="hush-hush", auth_method="x"
    )
    assert "hush" not in repr(client)


def test_basic_credentials_are_form_encoded_first() -> None:
    fields: dict[str, str] = {}
    client = Client(
        issuer="i",
        client_id="a:b",
        kind=ClientKind.REGISTERED,
        secret="p@ss:ü",
        auth_method="client_secret_basic",
    )
    # base64 of "a%3Ab:p%40ss%3A%C3%BC"
    assert client.authenticate(fields) == {"authorization": "Basic YSUzQWI6cCU0MHNzJTNBJUMzJUJD"}
    assert fields == {}


@pytest.mark.parametrize(
    ("known", "has_secret", "method"),
    [
        (("client_secret_basic",), True, "client_secret_basic"),
        (("client_secret_post",), True, "client_secret_post"),
        (("private_key_jwt",), True, "client_secret_basic"),
        (("client_secret_post", "client_secret_basic"), True, "client_secret_basic"),
        (("client_secret_basic",), False, "none"),
    ],
)
def test_the_way_of_showing_who_we_are_is_one_that_both_know(
    known: tuple[str, ...], has_secret: bool, method: str
) -> None:
    server = AuthorizationServer(
        issuer="i",
        authorization_endpoint="https://a.example/a",
        token_endpoint="https://a.example/t",
        token_auth_methods=known,
    )
    assert auth_method_of(server, has_secret=has_secret) == method


@pytest.mark.parametrize(
    ("public_url", "documents", "client_id"),
    [
        ("https://tasks.example.com/", True, "https://tasks.example.com/oauth/client.json"),
        ("http://127.0.0.1:8000", True, None),
        ("https://tasks.example.com", False, None),
        ("", True, None),
    ],
)
def test_an_address_of_ours_is_a_client_id_only_where_both_sides_can(
    public_url: str, documents: bool, client_id: str | None
) -> None:
    server = AuthorizationServer(
        issuer="i",
        authorization_endpoint="https://a.example/a",
        token_endpoint="https://a.example/t",
        client_id_documents=documents,
    )
    client = document_client(server, public_url=public_url, path="/oauth/client.json")
    assert (client and client.client_id) == client_id
