"""docs/tool-servers.md says what the code does: sentences, limits, servers that were tried."""

from __future__ import annotations

import re
from pathlib import Path

from agent_runtime.mcp import (
    argument_schema,
    cache,
    catalogue,
    connection,
    json_budget,
    response_checks,
    results,
    schema_walk,
    stream,
    tool_fields,
)
from agent_runtime.mcp.errors import DESCRIPTIONS, ToolServerFailure
from tests.system.faults.real_servers import PEERS

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "tool-servers.md").read_text()

# What ends a request with a sentence of its own that an operator has to understand.
EXPLAINED = (
    ToolServerFailure.ENCODED,
    ToolServerFailure.REDIRECT,
    ToolServerFailure.TOO_LARGE,
    ToolServerFailure.MALFORMED,
    ToolServerFailure.CREDENTIAL,
    ToolServerFailure.FORBIDDEN,
    ToolServerFailure.VERSION,
    ToolServerFailure.OLD_TRANSPORT,
    ToolServerFailure.ADDRESS,
)
LIMITS = {
    "seconds for listing a server's tools, the greeting included": connection.LIST_SECONDS,
    "bytes of an answer, all events of its stream together": response_checks.MAX_ANSWER_BYTES,
    "events of an answer's stream": stream.MAX_ANSWER_EVENTS,
    "JSON values in an answer, structured content aside": json_budget.MAX_VALUES,
    "bytes of a result that the agent reads; the rest is cut, and the cut is shown": (
        results.MAX_RESULT_BYTES
    ),
    "bytes of a tool's or server's error": results.MAX_ERROR_BYTES,
    "tools of a server": catalogue.MAX_TOOLS,
    "pages of a list of tools": catalogue.MAX_PAGES,
    "bytes of all descriptions and schemas of a server": catalogue.MAX_CATALOGUE_BYTES,
    "bytes of a tool's description; the rest is cut": catalogue.MAX_DESCRIPTION_BYTES,
    "bytes of a tool's schema": argument_schema.MAX_SCHEMA_BYTES,
    "levels of a tool's schema": schema_walk.MAX_SCHEMA_DEPTH,
    "characters of a tool's name": tool_fields.MAX_NAME_CHARS,
    "seconds for which a list of tools is kept": cache.MAX_AGE_SECONDS,
}
PINNED = re.compile(r"((?:@[\w-]+/)?[\w.-]+?)(?:==|@)(\d[\w.]*)")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading of the second level, without its head."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.search(r"^\|(?:-+\|)+\n((?:\|.*\n?)+)", section, re.MULTILINE)
    assert found is not None
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in found[1].splitlines()]


def test_the_page_gives_the_limits_as_they_are() -> None:
    found = {name: (value, where) for name, value, where in rows("Limits")}
    assert found.pop("seconds for a call, all tries included") == (
        "120",
        "`CAYLEX_TOOL_TIMEOUT_SECONDS`",
    )
    assert found == {name: (f"{value:,.0f}", "fixed") for name, value in LIMITS.items()}


def test_the_page_gives_the_sentences_as_they_are() -> None:
    sentences = [sentence for _, sentence, _ in rows("What is refused, and why")]
    assert [each for each in EXPLAINED if DESCRIPTIONS[each] not in sentences] == []


def test_the_page_names_the_servers_that_are_tried_with_the_versions_that_are_installed() -> None:
    installed: dict[str, set[str]] = {}
    for path in (ROOT / "Makefile", *(ROOT / "requirements").glob("peers*.txt")):
        for name, version in PINNED.findall(path.read_text()):
            installed.setdefault(name, set()).add(version)
    found = rows("Which servers work")
    assert len(found) == len(PEERS)
    for name, version, served_by in found:
        assert version in installed[name.partition(" (")[0]]
        for gateway, its_version in re.findall(r"(supergateway|mcp-proxy|mcp) ([\d.]+)", served_by):
            assert its_version in installed[gateway]
