"""How dear a schema is: the ways through it, its parts, its patterns, counted before compiling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

MAX_PATHS = 10_000  # ways through a schema, references followed
MAX_SCHEMA_DEPTH = 200
VALUES_AN_OBJECT = 10  # of a list, as of an enum, that cost what an object does

PLAIN_VALUES = ("default", "examples", "enum", "const")  # hold data, not schemas
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
REFERRING = frozenset((*REFERENCES, "$id"))
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
ALTERNATIVES = ("anyOf", "oneOf")


class UnusableSchema(Exception):
    """The schema cannot be used; `str()` says why, without quoting the schema."""


class Ways(NamedTuple):
    """The ways through a schema, references followed.

    `paths` in all; `loops` that lead back up from one place; `alternatives` in anyOf and oneOf,
    each of which an error tells about.
    """

    paths: int
    loops: int
    alternatives: int


class Parts(NamedTuple):
    """What stands in a schema: values in all, objects, how deep, whether it refers to itself."""

    values: int
    objects: int
    depth: int
    refers: bool


def parts_of(schema: Any) -> Parts:
    """Count what stands in a schema, references not followed."""
    values, objects, deepest, refers, waiting = 0, 0, 0, False, [(schema, 1)]
    while waiting:
        node, level = waiting.pop()
        deepest = max(deepest, level)
        values += len(node)
        if isinstance(node, dict):
            objects += 1
            refers = refers or not node.keys().isdisjoint(REFERRING)
            waiting.extend((e, level + 1) for e in node.values() if isinstance(e, dict | list))
        else:
            objects += len(node) // VALUES_AN_OBJECT
            waiting.extend((e, level + 1) for e in node if isinstance(e, dict | list))
    return Parts(values, objects, deepest, refers)


def ways_of(schema: dict[str, Any], parts: Parts) -> Ways:
    """Count the ways through a schema. Raises UnusableSchema for one that is a trap."""
    if parts.depth > MAX_SCHEMA_DEPTH:
        raise UnusableSchema("it is nested too deeply")
    if parts.refers:
        ways = Walk(schema).count()
        if ways.paths > MAX_PATHS:
            raise UnusableSchema("it holds too many combinations")
        return ways
    return Ways(parts.objects, 0, sum(map(_alternatives, _objects(schema))))


def patterns_of(schema: Any) -> list[str]:
    """Return the distinct patterns of a schema, those of names of properties included."""
    found: dict[str, None] = {}
    for node in _objects(schema):
        if isinstance(node.get("pattern"), str):
            found[node["pattern"]] = None
        if isinstance(node.get("patternProperties"), dict):
            found.update(dict.fromkeys(node["patternProperties"]))
    return list(found)


def without_patterns(node: Any, dropped: Mapping[str, object] | set[str]) -> Any:
    """Return the schema without some of its patterns.

    Where one of names goes, what is said of all other names goes with it.
    """
    if isinstance(node, list):
        return [without_patterns(each, dropped) for each in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: without_patterns(value, dropped)
        for key, value in node.items()
        if not (key == "pattern" and isinstance(value, str) and value in dropped)
    }
    named = kept.get("patternProperties")
    if isinstance(named, dict) and not named.keys().isdisjoint(dropped):
        kept["patternProperties"] = {key: each for key, each in named.items() if key not in dropped}
        kept.pop("additionalProperties", None)
        kept.pop("unevaluatedProperties", None)
    return kept


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _alternatives(node: dict[str, Any] | list[Any]) -> int:
    if not isinstance(node, dict):
        return 0
    return sum(len(node[key]) for key in ALTERNATIVES if isinstance(node.get(key), list))


class Walk:
    """Counts the ways through a schema, each part once (memoised), references followed.

    Ways that lead back up are counted for each place in the arguments: two properties that
    refer to the root are two places, two alternatives that do so are two ways for one place.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._known: dict[int, Ways] = {}
        self._open: dict[int, int] = {}  # parts being walked: levels of the instance above them

    def count(self) -> Ways:
        """Return the ways through the whole schema. Raises UnusableSchema."""
        return self._count(self._root, 0)

    def _count(self, node: Any, level: int) -> Ways:
        if not isinstance(node, dict | list):
            return Ways(0, 0, 0)
        if id(node) in self._open:
            if self._open[id(node)] == level:
                raise UnusableSchema("it refers to itself without end")
            return Ways(1, 1, 0)
        if id(node) in self._known:
            return self._known[id(node)]
        if len(self._open) > MAX_SCHEMA_DEPTH:
            raise UnusableSchema("it is nested too deeply")
        self._open[id(node)] = level
        paths, shared, apart, alternatives = 0, 0, [0], _alternatives(node)
        for child, below, own_place in self._children(node, level):
            more = self._count(child, below)
            paths += more.paths
            alternatives += more.alternatives
            if own_place:
                apart.append(more.loops)
            else:
                shared += more.loops
        del self._open[id(node)]
        ways = Ways(max(1, paths), shared + max(apart), alternatives)
        self._known[id(node)] = ways
        return ways

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
