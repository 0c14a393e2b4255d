"""The small parts of the adapter: names, schemas, scrubbing, rendering, the cache."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from typing import Any

import pytest

from agent_runtime.mcp.argument_schema import compile_schema
from agent_runtime.mcp.cache import CatalogueCache
from agent_runtime.mcp.catalogue import Catalogue
from agent_runtime.mcp.errors import NoResponse, ToolServerFailure
from agent_runtime.mcp.json_budget import exceeds_json_budget
from agent_runtime.mcp.naming import offered_names
from agent_runtime.mcp.results import MAX_RESULT_BYTES, render_result, size_text
from agent_runtime.mcp.schema_walk import UnusableSchema
from agent_runtime.mcp.session import ProtocolInfo
from agent_runtime.messages import CallState
from agent_runtime.net.scrubber import REMOVED, Scrubber

NO_SECRETS = Scrubber(secrets=())


def test_a_name_is_server_and_tool() -> None:
    assert offered_names(tools=[("crm", "find")]) == {"crm__find": ("crm", "find")}


def test_odd_and_long_names_fit_the_models_rule() -> None:
    pairs = [("crm", "find.all/ü"), ("s" * 60, "t" * 60), ("crm", "x y"), ("crm", "x.y")]
    names = offered_names(tools=pairs)
    assert sorted(names.values()) == sorted(pairs)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in names)
    assert names["crm__find_all__"] == ("crm", "find.all/ü")


def test_a_name_begins_with_a_letter_or_an_underscore() -> None:
    pairs = [("7shifts", "list"), ("_x", "y"), ("crm", "z")]
    assert set(offered_names(tools=pairs)) == {"_7shifts__list", "_x__y", "crm__z"}


def test_names_do_not_depend_on_the_order_of_the_tools() -> None:
    pairs = [("a", "b__c"), ("a__b", "c"), ("a", "z"), ("a", "x.y"), ("a", "x y")]
    assert offered_names(tools=pairs) == offered_names(tools=pairs[::-1])
    assert len(offered_names(tools=pairs)) == 5
    assert "a__b__c" not in offered_names(tools=pairs)


def test_a_name_that_is_already_taken_is_not_handed_out_twice() -> None:
    taken = next(
        name
        for name, pair in offered_names(tools=[("a", "x.y"), ("a", "x y")]).items()
        if pair == ("a", "x.y")
    )
    pairs = [("a", "x.y"), ("a", "x y"), ("a", taken.removeprefix("a__"))]
    assert len(offered_names(tools=pairs)) == 2


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"$ref": "http://127.0.0.1:1/x"}, "another document"),
        ({"$ref": "other.json#/x"}, "another document"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "does not hold"),
        ({"properties": {"a": {"$ref": "#nowhere"}}}, "does not hold"),
        ({"allOf": [{"$ref": "#"}]}, "without end"),
        ({"properties": {"a": {"$id": "http://x/", "type": "string"}}}, "documents within"),
        ({"type": 5}, "not a valid JSON Schema"),
        ({"description": "x" * 70_000}, "too large"),
        ({"description": "a\0b"}, "JSON text"),
        ({"description": "\ud800"}, "JSON text"),
        ({"$schema": "http://127.0.0.1:1/meta"}, "not a valid JSON Schema"),
    ],
)
def test_a_schema_that_cannot_be_used_says_why(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnusableSchema, match=reason):
        compile_schema(schema)


def doubled(levels: int) -> dict[str, Any]:
    defs: dict[str, Any] = {"d0": {"type": "string"}}
    for level in range(1, levels + 1):
        below = {"$ref": f"#/$defs/d{level - 1}"}
        defs[f"d{level}"] = {"allOf": [below, {**below, "title": str(level)}]}
    return {"type": "object", "$defs": defs, "properties": {"x": {"$ref": f"#/$defs/d{levels}"}}}


def test_exponential_schemas_are_refused_before_they_are_compiled() -> None:
    started = time.process_time()
    for levels in (28, 60):
        with pytest.raises(UnusableSchema, match="too many combinations"):
            compile_schema(doubled(levels))
    assert compile_schema(doubled(8)).check({"x": 1}) is not None
    assert time.process_time() - started < 1


def test_an_explosion_hidden_under_a_property_called_default_is_found() -> None:
    schema = doubled(28)
    schema["properties"] = {"default": {"properties": {"enum": {"$ref": "#/$defs/d28"}}}}
    with pytest.raises(UnusableSchema, match="too many combinations"):
        compile_schema(schema)


def test_a_catastrophic_pattern_runs_in_linear_time() -> None:
    checker = compile_schema({"properties": {"x": {"pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"}}})
    started = time.process_time()
    assert checker.check({"x": "a" * 50_000}) is not None
    assert time.process_time() - started < 1


def test_a_pattern_beyond_the_linear_engine_is_left_to_the_server() -> None:
    checker = compile_schema(
        {"properties": {"x": {"type": "string", "pattern": "^(?!a)b"}, "y": {"pattern": "^b"}}}
    )
    assert checker.check({"x": "a"}) is None
    assert checker.check({"x": 1}) is not None
    assert checker.check({"y": "a"}) is not None


def nested(depth: int, *, last: Any) -> Any:
    return last if depth == 0 else {"kid": nested(depth - 1, last=last)}


def test_recursive_schemas_are_checked_all_the_way_down() -> None:
    kids = {name: {"$ref": "#"} for name in ("kid", "left", "right", "other")}
    tree = compile_schema({"type": "object", "properties": kids})
    assert tree.check(nested(60, last={})) is None
    assert tree.check(nested(60, last=5)) is not None


def test_a_recursive_schema_with_many_ways_down_is_checked_to_a_depth_that_is_cheap() -> None:
    ways = [{"properties": {"kid": {"$ref": "#"}}, "title": str(i)} for i in range(10)]
    checker = compile_schema({"type": "object", "allOf": ways})
    started = time.process_time()
    assert checker.check(nested(3, last=5)) is not None
    assert checker.check(nested(50, last=5)) is None
    assert time.process_time() - started < 1


def test_deep_arguments_are_refused_whatever_the_schema() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"a": [deep]}
    problem = compile_schema({"type": "object"}).check(deep)
    assert problem == "The arguments are nested deeper than 64 levels."


def test_equal_schemas_share_one_checker() -> None:
    first = compile_schema({"type": "object", "title": "shared"})
    assert compile_schema({"title": "shared", "type": "object"}) is first


def test_only_a_few_problems_are_named_and_none_is_long() -> None:
    checker = compile_schema({"additionalProperties": {"type": "integer"}})
    problem = checker.check({f"k{i}": "x" * 5000 for i in range(50)})
    assert problem is not None
    assert len(problem) < 1500


@pytest.mark.parametrize("secret", ["hunter2hunter2", "sk-1234567890abcdef", "päss wörd/+&="])
@pytest.mark.parametrize("before", ["", "u:", "us:", "use"])
def test_base64_of_a_secret_is_found_at_any_offset(secret: str, before: str) -> None:
    text = base64.b64encode(f"{before}{secret}:tail".encode()).decode()
    scrubbed = Scrubber(secrets=[secret]).scrub(f"Basic {text}")
    assert REMOVED in scrubbed
    assert len(scrubbed.replace(REMOVED, "")) < len(f"Basic {text}") - len(secret)


def test_text_without_secrets_is_the_same_object() -> None:
    text = "nothing to see"
    assert Scrubber(secrets=["hunter2hunter2", ""]).scrub(text) is text


def result(*content: Any, **more: Any) -> dict[str, Any]:
    return {"content": list(content), **more}


def body_of(found: Any) -> str:
    rendered = render_result(result=found, scrubber=NO_SECRETS)
    assert rendered.state is CallState.SUCCEEDED
    return rendered.text.partition("\n")[2]


def test_text_parts_are_joined_and_other_parts_are_named() -> None:
    image = {"type": "image", "data": "A" * 16_000, "mimeType": "image/png"}
    blob = {"uri": "x://1", "mimeType": "application/pdf", "blob": "AAAA"}
    found = result(
        {"type": "text", "text": "one"},
        image,
        {"type": "text", "text": "two"},
        {"type": "resource", "resource": blob},
        {"type": "resource", "resource": {"uri": "x://2", "text": "inside"}},
        {"type": "resource_link", "name": "n", "uri": "x://3"},
    )
    assert body_of(found).split("\n") == [
        "one",
        "[image, image/png, 12 kB, not shown]",
        "two",
        "[resource, application/pdf, 3 B, not shown]",
        "[resource, x://2]",
        "inside",
        "[resource link, unknown type, x://3, not shown]",
    ]


def test_structured_content_is_shown_when_there_is_no_text() -> None:
    assert body_of(result(structuredContent={"n": 1, "ü": [True]})) == '{"n": 1, "ü": [true]}'
    text = {"type": "text", "text": "words"}
    assert body_of(result(text, structuredContent={"n": 1})) == "words"


def test_control_characters_and_half_characters_do_not_come_through() -> None:
    text = {"type": "text", "text": "a\x00b\x1b[31m\ud800c\r\n\t"}
    assert body_of(result(text)) == "ab[31m\ufffdc\r\n\t"


def test_a_long_result_is_cut_at_a_whole_character_and_says_so() -> None:
    text = {"type": "text", "text": "ü" * MAX_RESULT_BYTES}
    body = body_of(result(text))
    assert body == "ü" * (MAX_RESULT_BYTES // 2) + "\n[cut: 200 kB of 400 kB are shown]"


def test_a_secret_across_the_cut_leaves_no_half() -> None:
    text = {"type": "text", "text": "x" * (MAX_RESULT_BYTES - 5) + "hunter2hunter2"}
    rendered = render_result(result=result(text), scrubber=Scrubber(secrets=["hunter2hunter2"]))
    assert "hunt" not in rendered.text


def test_sizes_read_like_a_persons() -> None:
    assert [size_text(each) for each in (0, 999, 12_345, 2_500_000)] == [
        "0 B",
        "999 B",
        "12 kB",
        "2.5 MB",
    ]


EMPTY = Catalogue(tools={}, protocol=ProtocolInfo(discovered=None))


async def test_those_who_want_one_catalogue_wait_for_one_listing() -> None:
    cache, go, made = CatalogueCache(), asyncio.Event(), []

    async def make() -> Catalogue:
        made.append(1)
        await go.wait()
        return EMPTY

    waiting = [asyncio.create_task(cache.get(key="k", make=make)) for _ in range(5)]
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*waiting) == [EMPTY] * 5
    assert made == [1]


async def test_a_failed_listing_fails_those_who_waited_and_is_not_kept() -> None:
    cache, go, made = CatalogueCache(), asyncio.Event(), []

    async def fail() -> Catalogue:
        made.append(1)
        await go.wait()
        raise NoResponse(ToolServerFailure.UNREACHABLE)

    waiting = [asyncio.create_task(cache.get(key="k", make=fail)) for _ in range(3)]
    await asyncio.sleep(0)
    go.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in found] == [NoResponse] * 3
    assert made == [1]
    assert cache.fresh(key="k") is None


async def test_when_the_one_who_lists_is_cancelled_another_takes_over() -> None:
    cache, made = CatalogueCache(), []

    async def make() -> Catalogue:
        made.append(1)
        if len(made) == 1:
            await asyncio.Event().wait()
        return EMPTY

    first = asyncio.create_task(cache.get(key="k", make=make))
    second = asyncio.create_task(cache.get(key="k", make=make))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is EMPTY
    assert made == [1, 1]


async def test_a_catalogue_grows_stale_and_the_longest_unused_goes() -> None:
    now = 100.0
    cache = CatalogueCache(max_age=10, max_kept=2, clock=lambda: now)

    async def make() -> Catalogue:
        return Catalogue(tools={}, protocol=ProtocolInfo(discovered=None))

    kept = {key: await cache.get(key=key, make=make) for key in ("a", "b")}
    assert cache.fresh(key="a") is kept["a"]
    await cache.get(key="c", make=make)
    assert cache.fresh(key="b") is None
    assert cache.fresh(key="a") is kept["a"]
    now += 11
    assert cache.fresh(key="a") is None


async def test_without_a_key_nothing_is_kept() -> None:
    cache = CatalogueCache()

    async def make() -> Catalogue:
        return EMPTY

    await cache.get(key="", make=make)
    assert cache.fresh(key="") is None


def wrapped(inner: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"result":{"content":' + inner + b"}}"


@pytest.mark.parametrize(
    "message",
    [
        wrapped(b"[" + b"{}," * 30_000 + b"1]"),
        wrapped(b"[" + b'"ab",' * 30_000 + b"1]"),
        wrapped(b"{" + b'"structuredContent":[' + b"0," * 70_000 + b"0]}"),
        wrapped(b"{" + b"".join(b'"k%d":0,' % i for i in range(70_000)) + b'"z":0}'),
        wrapped(b'["' + b'\\\\","' * 70_000 + b'"]'),
        b"[" * 70_000,
    ],
)
def test_messages_that_are_small_in_bytes_and_large_in_memory_are_too_heavy(
    message: bytes,
) -> None:
    assert exceeds_json_budget(message)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"[" * 3_000,
        wrapped(b'[{"type":"text","text":"' + b"a,b,[{" * 500_000 + b'"}]'),
        wrapped(b'[{"type":"text","text":"' + b'\\",\\\\' * 200_000 + b'"}]'),
        wrapped(b'[{"structuredContent":[' + b"0," * 50_000 + b"0]}]"),
        wrapped(b"[" + b'{"type":"text","text":"a"},' * 2_000 + b"1]"),
    ],
)
def test_long_text_and_free_form_values_are_not_too_heavy(message: bytes) -> None:
    assert not exceeds_json_budget(message)
