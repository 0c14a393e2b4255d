"""Ranked search over a catalogue of tools: BM25 by SQLite's FTS5, in memory.

One index for each catalogue, whatever the project's database, so that every deployment ranks
alike.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent_runtime.messages import Tool

_RANK = "bm25(3.0, 2.0, 1.0)"  # weights of name, description, parameters
MAX_QUERY_WORDS = 64
MAX_INDEXED = 20_000  # characters of a tool's description, and of its parameters' texts
MAX_DEPTH = 8  # of nested parameters

_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[0-9])")
# Words that tell no tool from another; a query of nothing else keeps them.
_STOP_WORDS = frozenset(
    _WORD.findall(
        "a an and are as at be by can could do does for from give has have how i in into is it its"
        " me my of on or our please so that the their them then there these this to using want was"
        " we what when where which who will with would you your"
    )
)


class ToolIndex:
    """The tools of one catalogue, searchable; made in a thread, used from any one at a time."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = tools
        self._names = _exact_names(tools)
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute(
            "CREATE VIRTUAL TABLE tool USING fts5"
            "(name, description, parameters, tokenize = 'porter unicode61 remove_diacritics 2')"
        )
        self._database.execute("INSERT INTO tool (tool, rank) VALUES ('rank', ?)", (_RANK,))
        self._database.executemany(
            "INSERT INTO tool (rowid, name, description, parameters) VALUES (?, ?, ?, ?)",
            ((number, *_fields(tool)) for number, tool in enumerate(tools)),
        )

    def search(self, intent: str, *, limit: int, servers: Sequence[str] = ()) -> list[Tool]:
        """Return up to `limit` tools, best first; of these servers only, where some are named.

        A tool that the intent names exactly, in any case, with or without its server, is first.
        """
        wanted = {each.casefold() for each in servers}
        found: dict[int, None] = dict.fromkeys(self._named_in(intent))
        query = _query(intent)
        if query:
            rows = self._database.execute(
                "SELECT rowid FROM tool WHERE tool MATCH ? ORDER BY rank, rowid LIMIT ?",
                (query, -1 if wanted else limit),
            )
            found |= {number: None for (number,) in rows}
        tools = (self._tools[number] for number in found)
        return [each for each in tools if not wanted or each.server.casefold() in wanted][:limit]

    def close(self) -> None:
        """Free the index."""
        self._database.close()

    def _named_in(self, intent: str) -> Iterator[int]:
        whole = intent.strip().strip("\"'`").casefold()
        yield from self._names.get(whole, ())


def has_full_text_search() -> bool:
    """Tell whether this Python's SQLite has FTS5."""
    try:
        with sqlite3.connect(":memory:") as database:
            database.execute("CREATE VIRTUAL TABLE probe USING fts5(text)")
    except sqlite3.OperationalError:
        return False
    finally:
        database.close()
    return True


def _exact_names(tools: Sequence[Tool]) -> Mapping[str, list[int]]:
    names: dict[str, list[int]] = {}
    for number, tool in enumerate(tools):
        forms = {tool.tool, tool.name, f"{tool.server}.{tool.tool}", f"{tool.server} {tool.tool}"}
        forms |= {f"{tool.server}/{tool.tool}", f"{tool.server}__{tool.tool}"}
        for form in {each.casefold() for each in forms if each}:
            names.setdefault(form, []).append(number)
    return names


def _fields(tool: Tool) -> tuple[str, str, str]:
    parameters = " ".join(_parameter_texts(tool.schema, MAX_DEPTH))
    return (
        split_words(tool.tool or tool.name),
        split_words(tool.description[:MAX_INDEXED]),
        split_words(parameters[:MAX_INDEXED]),
    )


def _parameter_texts(schema: Any, depth: int) -> Iterator[str]:
    """Yield the names and descriptions of a schema's parameters, nested ones too."""
    if not isinstance(schema, Mapping) or depth <= 0:
        return
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        for name, inner in properties.items():
            yield str(name)
            if isinstance(inner, Mapping):
                description = inner.get("description")
                if isinstance(description, str):
                    yield description
                yield from _values(inner.get("enum"))
            yield from _parameter_texts(inner, depth - 1)
    yield from _parameter_texts(schema.get("items"), depth - 1)


def _values(enum: Any) -> Iterator[str]:
    if isinstance(enum, list):
        yield from (each for each in enum[:50] if isinstance(each, str))


def split_words(text: str) -> str:
    """Return the words of a text or an identifier: `getUserById` and `get_user.by-id` alike.

    The unsplit form stays as well, so that both are found.
    """
    words: list[str] = []
    for word in _WORD.findall(unicodedata.normalize("NFKC", text)):
        parts = _CAMEL.split(word)
        words += parts
        if len(parts) > 1:
            words.append(word)
    return " ".join(words)


def _query(intent: str) -> str:
    """Return the intent as an FTS5 query: any of its words, each quoted."""
    words = list(dict.fromkeys(word.lower() for word in split_words(intent).split()))
    telling = [word for word in words if word not in _STOP_WORDS] or words
    return " OR ".join(f'"{word}"' for word in telling[:MAX_QUERY_WORDS])
