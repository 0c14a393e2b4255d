"""A catalogue of tools is searched by what a caller intends, alike on every deployment."""

from collections.abc import Mapping
from typing import Any

import pytest

from agent_runtime.messages import Tool
from agent_runtime.search import ToolIndex, has_full_text_search, split_words


def tool(
    name: str, description: str = "", server: str = "crm", **parameters: Mapping[str, Any]
) -> Tool:
    return Tool(
        name=f"{server}__{name}",
        description=description,
        schema={"type": "object", "properties": parameters},
        server=server,
        tool=name,
    )


TOOLS = [
    tool("getUserById", "Look up a person."),
    tool("create_invoice", "Make a new bill for a customer."),
    tool("send-mail", "Send a message.", recipient={"description": "The address of the addressee"}),
    tool("list_invoices", "List bills.", server="billing"),
    tool("x1", "Nothing much.", filters={"properties": {"latitude": {"type": "number"}}}),
    tool("x2", "Nothing much.", kind={"enum": ["thunderstorm", "hail"]}),
]


def search(intent: str, *, limit: int = 10, servers: tuple[str, ...] = ()) -> list[str]:
    found = ToolIndex(TOOLS).search(intent, limit=limit, servers=servers)
    return [each.tool for each in found]


@pytest.mark.parametrize(
    ("intent", "first"),
    [
        ("get the user", "getUserById"),
        ("creating invoices", "create_invoice"),
        ("who is the addressee", "send-mail"),
        ("latitude", "x1"),
        ("thunderstorms", "x2"),
        ("list_invoices", "list_invoices"),
        ("LIST_INVOICES", "list_invoices"),
        ("billing.list_invoices", "list_invoices"),
        ("billing__list_invoices", "list_invoices"),
        ("'crm send-mail'", "send-mail"),
    ],
)
def test_what_is_meant_is_first(intent: str, first: str) -> None:
    assert search(intent)[0] == first


def test_servers_narrow_the_search_in_any_case() -> None:
    assert search("invoices", servers=("Billing",)) == ["list_invoices"]
    assert search("invoices", servers=("nowhere",)) == []


def test_no_more_than_the_limit_is_returned() -> None:
    assert len(search("invoice", limit=1)) == 1


@pytest.mark.parametrize(
    "intent",
    ["", "   ", '"', "AND OR NOT", "name:", "*", "(", "a" * 5_000, "\x00", "ß" * 300, "🦉"],
)
def test_any_text_is_a_query(intent: str) -> None:
    assert isinstance(search(intent), list)


def test_an_empty_catalogue_finds_nothing() -> None:
    assert ToolIndex([]).search("anything", limit=10) == []


def test_identifiers_are_split_and_stay_whole() -> None:
    assert split_words("getUserByID2 send_mail") == "get User By ID 2 getUserByID2 send mail"


def test_words_that_every_question_has_do_not_decide() -> None:
    assert search("what is the user that I want")[0] == "getUserById"


def test_a_hostile_schema_costs_little() -> None:
    nested: dict[str, Any] = {}
    for _ in range(200):
        nested = {"properties": {"deep": nested}}
    odd = [
        Tool(name="a", description="b" * 1_000_000, schema=nested),
        Tool(name="c", description="", schema={"properties": [1], "items": "no"}),
        Tool(name="d", description="", schema={"properties": {"e": {"enum": {"f": 1}}}}),
    ]
    assert [each.name for each in ToolIndex(odd).search("deep", limit=3)] == ["a"]


def test_this_python_has_full_text_search() -> None:
    assert has_full_text_search()
