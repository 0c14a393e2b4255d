"""What real servers list, page by page, byte for byte: a bad tool costs itself alone."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from agent_runtime.mcp.access import ServerAccess
from agent_runtime.mcp.cache import CatalogueCache
from agent_runtime.messages import CallState
from tests.support.tool_servers import Handler, RawServer, Seen, call, texts, tools_of
from tests.unit.mcp.byte_server import JSON, OK_TEXT, error, events, exactly, http, result, rpc

DO = {"name": "do", "inputSchema": {"type": "object", "properties": {"k": {"type": "string"}}}}
NO_ARGUMENTS = {"type": "object", "properties": {}}
SCHEMA = {"type": "object"}

# Odd tools that can be called, and the schema that their arguments are checked by.
USABLE: dict[str, tuple[dict[str, Any], Any]] = {
    "schema null": ({"inputSchema": None}, NO_ARGUMENTS),
    "schema absent": ({}, NO_ARGUMENTS),
    "schema true": ({"inputSchema": True}, NO_ARGUMENTS),
    "schema []": ({"inputSchema": []}, NO_ARGUMENTS),
    "schema {}": ({"inputSchema": {}}, NO_ARGUMENTS),
    "schema as text": ({"inputSchema": '{"type":"object","title":"t"}'}, {**SCHEMA, "title": "t"}),
    "schema with a dialect alone": (
        {"inputSchema": {"$schema": "http://json-schema.org/draft-07/schema#"}},
        {"$schema": "http://json-schema.org/draft-07/schema#", **NO_ARGUMENTS},
    ),
    "another name for it": ({"input_schema": {**SCHEMA, "title": "t"}}, {**SCHEMA, "title": "t"}),
    "type absent": (
        {"inputSchema": {"properties": {"a": {}}}},
        {"type": "object", "properties": {"a": {}}},
    ),
    "type a list": ({"inputSchema": {"type": ["object", "null"]}}, SCHEMA),
    "top-level anyOf": (
        {"inputSchema": {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}},
        {"anyOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"},
    ),
    "properties []": ({"inputSchema": {"type": "object", "properties": []}}, NO_ARGUMENTS),
    "properties null": ({"inputSchema": {"type": "object", "properties": None}}, NO_ARGUMENTS),
    "a property null": (
        {"inputSchema": {"type": "object", "properties": {"a": None, "b": []}}},
        {"type": "object", "properties": {"a": {}, "b": {}}},
    ),
    "required among the properties": (
        {"inputSchema": {"type": "object", "properties": {"coin": {}, "required": ["coin"]}}},
        {"type": "object", "properties": {"coin": {}}, "required": ["coin"]},
    ),
    "description a number": ({"inputSchema": SCHEMA, "description": 5}, SCHEMA),
    "description null": ({"inputSchema": SCHEMA, "description": None}, SCHEMA),
    "annotations a list": ({"inputSchema": SCHEMA, "annotations": []}, SCHEMA),
    "annotations a word": ({"inputSchema": SCHEMA, "annotations": "none"}, SCHEMA),
    "hints as words": (
        {"inputSchema": SCHEMA, "annotations": {"readOnlyHint": "yes please"}},
        SCHEMA,
    ),
    "hints null": ({"inputSchema": SCHEMA, "annotations": {"idempotentHint": None}}, SCHEMA),
    "output of a wrong type": ({"inputSchema": SCHEMA, "outputSchema": {"type": 5}}, SCHEMA),
    "output a list": (
        {"inputSchema": SCHEMA, "outputSchema": {"type": "array", "items": {}}},
        SCHEMA,
    ),
    "output a word": ({"inputSchema": SCHEMA, "outputSchema": "object"}, SCHEMA),
    "odd icons": ({"inputSchema": SCHEMA, "icons": [{"url": "x"}]}, SCHEMA),
    "odd execution": ({"inputSchema": SCHEMA, "execution": {"taskSupport": "sometimes"}}, SCHEMA),
    "odd title": ({"inputSchema": SCHEMA, "title": 5}, SCHEMA),
    "odd meta": ({"inputSchema": SCHEMA, "_meta": "x"}, SCHEMA),
    "unknown keys": ({"inputSchema": SCHEMA, "strict": True, "version": 2}, SCHEMA),
    "draft-04": (
        {"inputSchema": {"$schema": "http://json-schema.org/draft-04/schema#", **SCHEMA}},
        {"$schema": "http://json-schema.org/draft-04/schema#", **SCHEMA},
    ),
}

# Tools that cannot be called, the name under which they are told, and why.
UNUSABLE: dict[str, tuple[Any, str, str]] = {
    "null": (None, "(no name)", "it has no name"),
    "a word": ("do", "(no name)", "it has no name"),
    "no name": ({"inputSchema": SCHEMA}, "(no name)", "it has no name"),
    "name null": ({"name": None, "inputSchema": SCHEMA}, "(no name)", "it has no name"),
    "name empty": ({"name": "", "inputSchema": SCHEMA}, "(no name)", "its name cannot be used"),
    "type string": (
        {"name": "odd", "inputSchema": {"type": "string"}},
        "odd",
        "its arguments are not an object",
    ),
    "type unknown": (
        {"name": "odd", "inputSchema": {"type": 5}},
        "odd",
        "its arguments are not an object",
    ),
    "schema a number": ({"name": "odd", "inputSchema": 5}, "odd", "its schema is not an object"),
    "schema false": ({"name": "odd", "inputSchema": False}, "odd", "its schema is not an object"),
    "properties a list": (
        {"name": "odd", "inputSchema": {"properties": ["a"]}},
        "odd",
        "its properties are not an object",
    ),
    "a type that is none": (
        {"name": "odd", "inputSchema": {"properties": {"a": {"type": "int"}}}},
        "odd",
        "it is not a valid JSON Schema",
    ),
    "required null": (
        {"name": "odd", "inputSchema": {"type": "object", "required": None}},
        "odd",
        "it is not a valid JSON Schema",
    ),
    "a reference to nothing": (
        {"name": "odd", "inputSchema": {"properties": {"a": {"$ref": "#/$defs/none"}}}},
        "odd",
        "it refers to a part that it does not hold",
    ),
    "a dialect of its own": (
        {"name": "odd", "inputSchema": {"$schema": "http://127.0.0.1:1/meta"}},
        "odd",
        "it is not a valid JSON Schema",
    ),
}


def listing(*tools: Any, **more: Any) -> bytes:
    return result({"tools": list(tools), **more})


def pages(*answers: bytes) -> Handler:
    """Return a handler that answers with one page after the other."""
    waiting = [exactly(each) for each in answers]

    async def handle(seen: Seen, writer: Any) -> None:
        await waiting.pop(0)(seen, writer)

    return handle


@pytest.mark.parametrize(("tool", "schema"), USABLE.values(), ids=USABLE.keys())
async def test_what_is_optional_and_wrong_is_dropped(tool: dict[str, Any], schema: Any) -> None:
    async with RawServer().running() as server:
        server.methods["tools/list"] = exactly(listing({"name": "odd", **tool}, DO))
        server.calls["odd"] = texts(OK_TEXT)
        async with tools_of(ServerAccess(name="raw", url=server.url)) as tools:
            assert [each.tool for each in tools.offered] == ["do", "odd"]
            odd = tools.offered[1]
            assert (odd.description, odd.repeatable, odd.schema) == ("", False, schema)
            assert (await call(tools, "odd", coin=1, a="x", b="y")).state is CallState.SUCCEEDED
            assert tools.notes == {"raw": ()}


@pytest.mark.parametrize(("tool", "name", "why"), UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_a_tool_that_cannot_be_used_is_left_out_and_named(
    tool: Any, name: str, why: str
) -> None:
    async with RawServer().running() as server:
        server.methods["tools/list"] = exactly(listing(tool, DO))
        with structlog.testing.capture_logs() as logs:
            async with tools_of(ServerAccess(name="raw", url=server.url)) as tools:
                assert [each.tool for each in tools.offered] == ["do"]
                assert tools.servers[0].problem == ""
                assert tools.notes == {"raw": (f"{name} is left out: {why}.",)}
    (entry,) = [each for each in logs if each["event"] == "catalogue.tools_omitted"]
    assert entry["tools"] == {name: why}


async def test_a_tool_that_is_too_heavy_costs_itself_alone() -> None:
    heavy = {"name": "heavy", "inputSchema": {"type": "object", "enum": [[0]] * 70_000}}
    async with RawServer().running() as server:
        server.methods["tools/list"] = exactly(listing(heavy, DO))
        async with tools_of(ServerAccess(name="raw", url=server.url), timeout=20) as tools:
            assert [each.tool for each in tools.offered] == ["do"]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (result({"tools": None}), "its answer did not follow the protocol"),
        (result({}), "its answer did not follow the protocol"),
        (result({"tools": "none"}), "its answer did not follow the protocol"),
        (error(200, -32603, "no such luck"), "it rejected the request"),
        (error(200, -32601, "Method not found"), ""),
        (http(200, events(rpc(error={"code": -32601, "message": "x"})), "text/event-stream"), ""),
        (result([DO]), ""),
        (listing(), ""),
    ],
)
async def test_a_list_that_is_none_is_told(answer: bytes, problem: str) -> None:
    sentence = f"The server raw cannot be used: {problem}." if problem else ""
    async with RawServer().running() as server:
        server.methods["tools/list"] = exactly(answer)
        async with tools_of(ServerAccess(name="raw", url=server.url)) as tools:
            assert tools.servers[0].problem == sentence


PAGES: dict[str, tuple[bytes, list[Any], list[str]]] = {
    "a cursor": (listing({"name": "b"}), ["c1"], ["a", "b"]),
    "an empty cursor": (listing({"name": "b"}), [""], ["a", "b"]),
    "an empty cursor that is refused": (error(400, -32602, "Invalid cursor"), [""], ["a"]),
    "a number": (listing({"name": "b"}), [7], ["a", "b"]),
    "a number that is refused as text": (error(200, -32602, "Invalid cursor"), [7], ["a"]),
    "an object": (listing({"name": "b"}), [{}], ["a"]),
    "true": (listing({"name": "b"}), [True], ["a"]),
    "null": (listing({"name": "b"}), [None], ["a"]),
    "a page that is none": (http(200, "<html>", "text/html"), ["c1"], ["a"]),
    "a page without tools": (result({"tools": None}), ["c1"], ["a"]),
    "a page with a bad tool": (listing(None, {"name": "b"}), ["c1"], ["a", "b"]),
    "a page under 500": (http(500, "oh", "text/plain"), ["c1"], ["a"]),
    "a page that is too large": (listing({"name": "b", "x": "y" * 4_100_000}), ["c1"], ["a"]),
}


@pytest.mark.parametrize(("second", "cursor", "names"), PAGES.values(), ids=PAGES.keys())
async def test_what_was_listed_before_a_page_failed_is_offered(
    second: bytes, cursor: list[Any], names: list[str]
) -> None:
    first = listing({"name": "a"}, nextCursor=cursor[0])
    async with RawServer().running() as server:
        server.calls["a"] = texts(OK_TEXT)
        server.methods["tools/list"] = pages(first, second, first, second)
        with structlog.testing.capture_logs() as logs:
            async with tools_of(ServerAccess(name="raw", url=server.url), timeout=10) as tools:
                assert [each.tool for each in tools.offered] == names
                assert tools.servers[0].problem == ""
                assert (await call(tools, "a")).state is CallState.SUCCEEDED
    asked = [
        (each.rpc.get("params") or {}).get("cursor") for each in server.of_method("tools/list")
    ]
    failed = [each for each in logs if each["event"] == "tool_page_failed"]
    if names == ["a"] and len(asked) > 1:
        assert failed[0]["page"] == 2
    else:
        assert failed == []
    assert asked[1:2] == [
        str(each) for each in cursor if isinstance(each, str | int) and each is not True
    ]


async def test_a_list_that_a_passing_fault_cut_is_asked_for_again_and_not_kept() -> None:
    cache = CatalogueCache()
    first, cut = listing({"name": "a"}, nextCursor="c"), http(503, "")
    whole = [listing({"name": "a"}, nextCursor="c"), listing({"name": "b"})]
    async with RawServer().running() as server:
        access = ServerAccess(name="raw", url=server.url, catalogue_key="raw/1")
        server.methods["tools/list"] = pages(first, cut, first, cut, *whole)
        async with tools_of(access, catalogues=cache) as tools:
            assert [each.tool for each in tools.offered] == ["a"]
            assert tools.notes == {"raw": ("The list may be cut short: it is too busy.",)}
        async with tools_of(access, catalogues=cache) as tools:
            assert [each.tool for each in tools.offered] == ["a", "b"]
    assert len(server.of_method("tools/list")) == 6


async def test_a_hint_counts_only_as_the_protocol_has_it() -> None:
    tools_listed = [
        {"name": "a", "annotations": {"readOnlyHint": True}},
        {"name": "b", "annotations": {"idempotentHint": True, "readOnlyHint": 5}},
        {"name": "c", "annotations": {"readOnlyHint": 1}},
        {"name": "d", "annotations": {"readOnlyHint": "true"}, "title": "A title"},
    ]
    async with RawServer().running() as server:
        server.methods["tools/list"] = exactly(http(200, rpc(result={"tools": tools_listed}), JSON))
        async with tools_of(ServerAccess(name="raw", url=server.url)) as tools:
            assert [each.repeatable for each in tools.offered] == [True, True, False, False]
            assert tools.offered[3].description == "A title"
