"""Whose credential goes where, and that it comes back from nowhere."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from agent_runtime.mcp.access import ServerAccess
from agent_runtime.mcp.toolset import CatalogueCache
from agent_runtime.messages import CallState
from demo.tool_server import Notes, make_app
from tests.support.tool_servers import (
    RawServer,
    Seen,
    answer,
    call,
    hang_up,
    head,
    serving,
    tools_of,
)

SECRET = 'p@ss/w"ord+ünsafe?42'


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with RawServer().running() as found:
        yield found


def bearer(url: str, token: str) -> ServerAccess:
    return ServerAccess(
        name="tickets",
        url=url,
        headers={"Authorization": f"Bearer {token}"},
        secrets=(token,),
        catalogue_key=f"tickets/{token}",
    )


async def test_two_users_of_one_server_each_carry_their_own_credential() -> None:
    notes, cache = Notes(path=None), CatalogueCache()
    tokens = {"token-of-jane": "jane", "token-of-ben": "ben"}
    async with serving(make_app(tokens=tokens, notes=notes)) as url:
        async with (
            tools_of(bearer(url, "token-of-jane"), catalogues=cache) as janes,
            tools_of(bearer(url, "token-of-ben"), catalogues=cache) as bens,
        ):
            await asyncio.gather(
                call(janes, "add_note", key="j", id="T-1001", text="from jane"),
                call(bens, "add_note", key="b", id="T-1001", text="from ben"),
            )
    written = sorted((each["author"], each["text"]) for each in notes.of(ticket="T-1001"))
    assert written == [("ben", "from ben"), ("jane", "from jane")]


async def test_a_user_without_a_good_credential_gets_an_honest_state_and_no_tools() -> None:
    notes = Notes(path=None)
    async with serving(make_app(tokens={"token-of-jane": "jane"}, notes=notes)) as url:
        async with tools_of(bearer(url, "token-of-eve")) as tools:
            assert tools.offered == ()
            assert tools.servers[0].needs_credential is True


async def test_a_server_with_a_problem_is_not_contacted(server: RawServer) -> None:
    access = ServerAccess(
        name="raw", url=server.url, problem="Jane has not connected raw.", needs_credential=True
    )
    async with tools_of(access) as tools:
        assert [(each.problem, each.needs_credential) for each in tools.servers] == [
            ("Jane has not connected raw.", True)
        ]
    assert server.seen == []


async def test_a_credential_of_kind_query_joins_each_request_but_not_the_sdks_address(
    server: RawServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.offer("pay", hang_up)
    access = ServerAccess(
        name="raw", url=f"{server.url}?v=1", query={"key": SECRET}, secrets=(SECRET,)
    )
    async with tools_of(access) as tools:
        await call(tools, "pay")
    assert {each.target for each in server.seen} == {f"/mcp?v=1&key={quote(SECRET, safe='')}"}
    assert quote(SECRET, safe="") not in caplog.text


async def test_a_credential_of_kind_path_is_percent_encoded_into_its_place(
    server: RawServer,
) -> None:
    server.offer("pay", hang_up)
    access = ServerAccess(
        name="raw",
        url=f"http://127.0.0.1:{server.port}/{{key}}/mcp",
        path={"key": SECRET},
        secrets=(SECRET,),
    )
    async with tools_of(access) as tools:
        result = await call(tools, "pay")
    assert {each.target for each in server.seen} == {f"/{quote(SECRET, safe='')}/mcp"}
    assert "key" not in result.text


@pytest.mark.parametrize(
    "target",
    [
        "/mcp;tenant=7/x;y=1",
        "/a/../b/./c//mcp",
        "/%7Emcp/%2e%2E/%2F?q='a'&flag",
        "/mcp?flag&b=c;d&e=%20+",
        "/mcp?",
    ],
)
@pytest.mark.parametrize("query", [{}, {"key": "s3cret value"}])
async def test_the_address_of_a_server_is_asked_for_byte_for_byte(
    server: RawServer, target: str, query: dict[str, str]
) -> None:
    server.offer("pay", hang_up)
    access = ServerAccess(
        name="raw", url=f"http://127.0.0.1:{server.port}{target}", query=query, secrets=()
    )
    async with tools_of(access) as tools:
        await call(tools, "pay")
    mark = "" if target.endswith("?") else "&" if "?" in target else "?"
    wanted = f"{target}{mark}key=s3cret%20value" if query else target
    assert {each.target for each in server.seen} == {wanted}


async def test_a_path_credential_cannot_choose_the_host(server: RawServer) -> None:
    access = ServerAccess(
        name="raw", url="http://{key}:1/mcp", path={"key": "127.0.0.1"}, secrets=()
    )
    async with tools_of(access) as tools:
        assert tools.servers[0].problem != ""
    assert server.seen == []


@pytest.mark.parametrize("value", ["line\r\nbreak-1", "ünsafe-value"])
async def test_a_credential_that_no_header_can_hold_is_not_sent(
    server: RawServer, value: str
) -> None:
    access = ServerAccess(name="raw", url=server.url, headers={"X-Key": value}, secrets=(value,))
    async with tools_of(access) as tools:
        assert tools.servers[0].needs_credential is True
    assert server.seen == []


async def test_whatever_a_server_echoes_holds_no_secret(server: RawServer) -> None:
    async def echo(seen: Seen, writer: asyncio.StreamWriter) -> None:
        forms = [
            SECRET,
            "\0".join(SECRET),
            quote(SECRET, safe=""),
            quote(SECRET).lower(),
            base64.b64encode(f"user:{SECRET}".encode()).decode(),
            base64.urlsafe_b64encode(SECRET.encode()).decode(),
        ]
        parts = [{"type": "text", "text": form} for form in forms]
        answer(writer, seen, {"content": parts, "structuredContent": {"k": SECRET}})

    async def only_structured(seen: Seen, writer: asyncio.StreamWriter) -> None:
        answer(writer, seen, {"content": [], "structuredContent": {"k": SECRET}})

    async def complain(seen: Seen, writer: asyncio.StreamWriter) -> None:
        body = f'{{"jsonrpc":"2.0","id":{seen.rpc["id"]},"error":{{"code":-1,"message":"x"}}}}'
        body = body.replace('"x"', '"no such key: ' + SECRET.replace('"', '\\"') + '"')
        head(writer, 400, "Bad", body.encode(), Content_Type="application/json")

    server.offer("echo", echo, description=f"Calls with {SECRET}.")
    server.offer("structured", only_structured)
    server.offer("complain", complain)
    access = ServerAccess(name="raw", url=server.url, query={"key": SECRET}, secrets=(SECRET,))
    async with tools_of(access) as tools:
        echoed = await call(tools, "echo", key="1")
        structured = await call(tools, "structured", key="2")
        complained = await call(tools, "complain", key="3")
        description = next(each for each in tools.offered if each.tool == "echo").description
    assert echoed.text.count("[secret removed]") == 6
    assert structured.text.endswith('{"k": "[secret removed]"}')
    assert complained.state is CallState.FAILED
    assert complained.text.endswith("no such key: [secret removed]")
    assert description == "Calls with [secret removed]."
    for text in (echoed.text, structured.text, complained.text):
        assert "p@ss" not in text
        assert "p%40ss" not in text


async def test_a_tool_whose_schema_or_name_holds_a_secret_is_left_out(server: RawServer) -> None:
    server.tools = [
        {"name": "a", "inputSchema": {"type": "object", "title": "key is hunter2hunter2"}},
        {"name": "hunter2hunter2", "inputSchema": {"type": "object"}},
        {"name": "fine", "inputSchema": {"type": "object"}},
    ]
    access = ServerAccess(name="raw", url=server.url, secrets=("hunter2hunter2",))
    async with tools_of(access) as tools:
        assert [each.tool for each in tools.offered] == ["fine"]


def test_an_access_prints_no_secret() -> None:
    access = ServerAccess(
        name="raw",
        url="https://example.com/{key}",
        headers={"X": SECRET},
        query={"q": SECRET},
        path={"key": SECRET},
        secrets=(SECRET,),
    )
    assert "p@ss" not in repr(access)
