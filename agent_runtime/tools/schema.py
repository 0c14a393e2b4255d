"""Argument schemas of tools: refused when they are traps, then compiled once.

A schema comes from a server. It may point at files and addresses, hold a pattern that takes
for ever, or name so many paths that any validator holds the process for minutes. So nothing
is fetched, patterns run on the linear engine, and the paths are counted before compiling.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import jsonschema_rs

MAX_PATHS = 10_000  # ways through a schema, references followed
MAX_SCHEMA_BYTES = 64_000
MAX_SCHEMA_DEPTH = 200
MAX_ARGUMENT_DEPTH = 64
MAX_UNROLLED = 20_000  # visits that nested arguments may cost in a recursive schema
MAX_PROBLEMS = 3  # named at once to the model
MAX_PROBLEM_CHARS = 300

LINEAR = jsonschema_rs.RegexOptions(size_limit=1_000_000, dfa_size_limit=2_000_000)
PLAIN_VALUES = ("default", "examples", "enum", "const")  # hold data, not schemas
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
NAMED_SCHEMAS = (
    "properties",
    "patternProperties",
    "dependentSchemas",
    "dependencies",
    "$defs",
    "definitions",
)
IN_PLACE = frozenset(
    ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", *REFERENCES)
)


class UnusableSchema(Exception):
    """The schema cannot be used; `str()` says why, without quoting the schema."""


@dataclass(slots=True, kw_only=True, weakref_slot=True)
class Checker:
    """A compiled schema.

    `checked_depth` is how deeply nested arguments are still checked: a recursive schema with
    many ways down would take for ever on deep ones, and the server checks again anyway.
    """

    schema: Mapping[str, Any]
    validator: jsonschema_rs.Validator
    checked_depth: int

    def check(self, arguments: Mapping[str, Any]) -> str | None:
        """Return what is wrong with the arguments, as sentences for the model, or None."""
        depth = _depth(arguments)
        if depth > MAX_ARGUMENT_DEPTH:
            return f"The arguments are nested deeper than {MAX_ARGUMENT_DEPTH} levels."
        if depth > self.checked_depth:
            return None
        try:
            found = list(itertools.islice(self.validator.iter_errors(arguments), MAX_PROBLEMS))
        except ValueError:
            return "The arguments hold text that is not valid Unicode."
        return " ".join(map(_sentence, found)) or None


_compiled: WeakValueDictionary[bytes, Checker] = WeakValueDictionary()


def compile_schema(schema: Mapping[str, Any]) -> Checker:
    """Return the checker of a schema; equal schemas share one while anybody holds it.

    Raises UnusableSchema.
    """
    try:
        text = json.dumps(schema, ensure_ascii=False, sort_keys=True).encode()
    except (UnicodeEncodeError, RecursionError):
        raise UnusableSchema("it is not valid JSON text") from None
    if len(text) > MAX_SCHEMA_BYTES:
        raise UnusableSchema("it is too large")
    if b"\\u0000" in text:
        raise UnusableSchema("it is not valid JSON text")
    digest = hashlib.sha256(text).digest()
    found = _compiled.get(digest)
    if found is None:
        found = _compiled[digest] = _compile(dict(schema))
    return found


def _compile(schema: dict[str, Any]) -> Checker:
    paths, loops = _Walk(schema).count()
    if paths > MAX_PATHS:
        raise UnusableSchema("it holds too many combinations")
    try:
        validator = _validator(schema)
    except ValueError:
        try:
            validator = _validator(_without_odd_patterns(schema))
        except ValueError:
            raise UnusableSchema("it is not a valid JSON Schema") from None
    unrolled = math.log(MAX_UNROLLED, loops) if loops > 1 else MAX_ARGUMENT_DEPTH
    return Checker(schema=schema, validator=validator, checked_depth=round(unrolled))


def _validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(schema, retriever=_refuse_to_fetch, pattern_options=LINEAR)


def _refuse_to_fetch(uri: str) -> Any:
    raise ValueError("schemas of other documents are not fetched")


def _without_odd_patterns(node: Any) -> Any:
    """Return the schema without the patterns that the linear engine does not know.

    Look-ahead is common (e-mail patterns of popular generators) and the server checks again.
    """
    if isinstance(node, list):
        return [_without_odd_patterns(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _without_odd_patterns(value)
        for key, value in node.items()
        if not (key == "pattern" and isinstance(value, str) and not _is_linear(value))
    }


def _is_linear(pattern: str) -> bool:
    try:
        _validator({"pattern": pattern})
    except ValueError:
        return False
    return True


class _Walk:
    """Counts the ways through a schema, each part once (memoised), references followed.

    Ways that lead back up are counted for each place in the arguments: two properties that
    refer to the root are two places, two alternatives that do so are two ways for one place.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._known: dict[int, tuple[int, int]] = {}
        self._open: dict[int, int] = {}  # parts being walked: levels of the instance above them

    def count(self) -> tuple[int, int]:
        """Return how many paths there are, and how many lead back up from one place."""
        return self._count(self._root, 0)

    def _count(self, node: Any, level: int) -> tuple[int, int]:
        if not isinstance(node, dict | list):
            return 0, 0
        if id(node) in self._open:
            if self._open[id(node)] == level:
                raise UnusableSchema("it refers to itself without end")
            return 1, 1
        if id(node) in self._known:
            return self._known[id(node)]
        if len(self._open) > MAX_SCHEMA_DEPTH:
            raise UnusableSchema("it is nested too deeply")
        self._open[id(node)] = level
        paths, shared, apart = 0, 0, [0]
        for child, below, own_place in self._children(node, level):
            more = self._count(child, below)
            paths += more[0]
            if own_place:
                apart.append(more[1])
            else:
                shared += more[1]
        del self._open[id(node)]
        self._known[id(node)] = max(1, paths), shared + max(apart)
        return self._known[id(node)]

    def _children(
        self, node: dict[str, Any] | list[Any], level: int
    ) -> list[tuple[Any, int, bool]]:
        """Return the parts below, their level, and whether they have a place of their own."""
        if isinstance(node, list):
            return [(each, level, False) for each in node]
        found = []
        for key, value in node.items():
            below = level if key in IN_PLACE else level + 1
            if key in REFERENCES and isinstance(value, str):
                found.append((self._target(value), level, False))
            elif key == "$id" and isinstance(value, str) and node is not self._root:
                raise UnusableSchema("it holds documents within documents")
            elif key in NAMED_SCHEMAS and isinstance(value, dict):
                found.extend((each, below, key == "properties") for each in value.values())
            elif key not in PLAIN_VALUES:
                found.append((value, below, False))
        return found

    def _target(self, reference: str) -> Any:
        if not reference.startswith("#"):
            raise UnusableSchema("it refers to another document")
        if reference == "#":
            return self._root
        if not reference.startswith("#/"):
            return self._anchor(reference[1:])
        node: Any = self._root
        for raw in reference[2:].split("/"):
            part = raw.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and part in node:
                node = node[part]
            elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
                node = node[int(part)]
            else:
                raise UnusableSchema("it refers to a part that it does not hold")
        return node

    def _anchor(self, name: str) -> Any:
        waiting: list[Any] = [self._root]
        while waiting:
            node = waiting.pop()
            if isinstance(node, dict):
                if name in (node.get("$anchor"), node.get("$dynamicAnchor")):
                    return node
                waiting.extend(node.values())
            elif isinstance(node, list):
                waiting.extend(node)
        raise UnusableSchema("it refers to a part that it does not hold")


def _depth(value: Any) -> int:
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        node, level = waiting.pop()
        deepest = max(deepest, level)
        inner = node.values() if isinstance(node, Mapping) else node
        if isinstance(node, Mapping | list):
            waiting.extend((each, level + 1) for each in inner if isinstance(each, Mapping | list))
    return deepest


def _sentence(error: jsonschema_rs.ValidationError) -> str:
    where = "".join(
        f"[{each}]" if isinstance(each, int) else f".{each}" for each in error.instance_path
    )
    problem = error.message[:MAX_PROBLEM_CHARS]
    return f"{where.lstrip('.') or 'arguments'}: {problem}."
