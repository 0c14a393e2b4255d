"""Schemas of tools as they go to a model: what every provider takes.

A tool's own schema stays as its server wrote it, and the arguments are checked against that. A
provider reads a smaller language, each another one, and refuses the whole request for a word more.
Sources: OpenAI ("Function calling", "Structured outputs"), Anthropic ("Tool use": keys of
properties, no combinators at the top), Gemini (`Schema` of the API), JSON Schema 2020-12.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_NESTING = 60  # deeper schemas are cut: whatever is there is allowed
MAX_MERGED = 20  # alternatives within alternatives at the top
MAX_INLINED = 200  # references that are written out in one schema

TYPE_LISTS = "type lists"  # for a keyword: `type` with several types
REFERENCES = frozenset(("$ref", "$defs", "definitions"))
COMBINATORS = ("allOf", "anyOf", "oneOf")
# Without these there is no schema left: a refusal that names one means something else.
STRUCTURE = frozenset(("type", "properties", "items", "description", "required"))

_AT_TOP = ("$schema", "$id", "id", "$anchor", "$vocabulary", "$comment")
_ONLY_BELOW = ("not", "enum", "const", "if", "then", "else", "dependentSchemas")
_NAMED = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = (
    "items",
    "additionalProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "propertyNames",
    "contains",
    "additionalItems",
    "not",
    "if",
    "then",
    "else",
)
_KEPT_TARGETS = ("#/$defs/", "#/definitions/")  # the rest of the top is written anew
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True)
class WireSchema:
    """A schema for the wire; `renamed` leads from its property keys to the tool's own."""

    schema: dict[str, Any]
    renamed: Mapping[str, str] = field(default_factory=dict)


def wire_schema(schema: Mapping[str, Any], *, without: Collection[str] = ()) -> WireSchema:
    """Return the schema as it is sent, `without` some keywords.

    1. At the top it is an object: references are followed, allOf, anyOf and oneOf are merged, and
       what restricts the object as a whole is left out.
    2. Objects have properties, arrays have items, required properties are there; older drafts are
       written as 2020-12 does it.
    3. Keys of properties that Anthropic refuses get others; see `WireSchema.renamed`.
    """
    removed = frozenset(without)
    if removed & REFERENCES:
        removed |= REFERENCES
    top = _as_object(dict(schema), dict(schema))
    walker = _Walker(root=dict(schema), without=removed)
    plain = walker.walk(top, 0)
    renamed = _rename_keys(plain)
    return WireSchema(plain, renamed)


def keywords_in(schema: Any) -> set[str]:
    """Return the keywords that a schema uses, STRUCTURE left aside."""
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, Mapping):
            found.update(key for key in node if key not in STRUCTURE)
            if isinstance(node.get("type"), list):
                found.add(TYPE_LISTS)
            for key, value in node.items():
                if key in _NAMED and isinstance(value, Mapping):
                    waiting.extend(value.values())
                elif key in _LISTS or key in _SINGLE:
                    waiting.append(value)
    return found


def _as_object(node: dict[str, Any], root: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """Return the schema's top as one that describes an object by its properties alone."""
    made = _followed(node, root)
    branches = {key: made.pop(key) for key in COMBINATORS if key in made}
    for key in (*_AT_TOP, *_ONLY_BELOW, *COMBINATORS):
        if isinstance(made.get(key), str) or key not in _AT_TOP:
            made.pop(key, None)
    properties, required = _own(made)
    for key, value in branches.items():
        options = [
            _as_object(each, root, depth + 1)
            for each in (value if isinstance(value, list) and depth < MAX_MERGED else ())
            if isinstance(each, dict)
        ]
        for option in options:
            for name, each in option["properties"].items():
                properties.setdefault(name, each)
        demands = [set(option.get("required", ())) for option in options]
        if demands:
            required |= set.union(*demands) if key == "allOf" else set.intersection(*demands)
    kept = {key: value for key, value in made.items() if key not in ("properties", "required")}
    asked = [name for name in properties if name in required]
    asked += sorted(required - set(asked))
    return {**kept, "type": "object", "properties": properties, "required": asked}


def _own(node: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    properties, required = node.get("properties"), node.get("required")
    names = required if isinstance(required, list) else []
    return (
        dict(properties) if isinstance(properties, Mapping) else {},
        {name for name in names if isinstance(name, str)},
    )


def _followed(node: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Return the node with what its `$ref` leads to, what stands beside it counting first."""
    for _ in range(MAX_INLINED):
        target = _target(node.get("$ref"), root)
        if target is None:
            break
        node = {**target, **{key: each for key, each in node.items() if key != "$ref"}}
    return dict(node)


def _target(reference: Any, root: dict[str, Any]) -> dict[str, Any] | None:
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    node: Any = root
    for raw in filter(None, reference[1:].split("/")):
        part = raw.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, Mapping) and part in node:
            node = node[part]
        else:
            return None
    return node if isinstance(node, dict) else None


class _Walker:
    """Writes a schema in the plain form, without the keywords that are not to be there."""

    def __init__(self, *, root: dict[str, Any], without: frozenset[str]) -> None:
        self._root = root
        self._without = without
        self._inlined = 0
        self._open: list[str] = []  # references that are being written out

    def walk(self, node: Any, depth: int) -> dict[str, Any]:
        """Return one schema, with all those in it."""
        if not isinstance(node, Mapping) or depth > MAX_NESTING:
            return {}
        reference = node.get("$ref")
        if isinstance(reference, str) and (
            "$ref" in self._without or not reference.startswith(_KEPT_TARGETS)
        ):
            return self._inline(reference, node, depth)
        node = self._merged(node)
        made = {
            key: self._value(key, value, depth)
            for key, value in node.items()
            if key not in self._without
        }
        self._tidy(made, node)
        return made

    def _value(self, key: str, value: Any, depth: int) -> Any:
        if key in _NAMED:
            named = value if isinstance(value, Mapping) else {}
            return {name: self.walk(each, depth + 1) for name, each in named.items()}
        if key == "items" and isinstance(value, list):  # a tuple, as before 2020-12
            return {"anyOf": [self.walk(each, depth + 1) for each in value]} if value else {}
        if key in _LISTS and isinstance(value, list):
            return [self.walk(each, depth + 1) for each in value]
        if key in _SINGLE and not isinstance(value, bool):
            return self.walk(value, depth + 1)
        return {} if key == "items" else value

    def _tidy(self, made: dict[str, Any], node: Mapping[str, Any]) -> None:
        """Mend what some providers refuse, and write older drafts as the newest does it."""
        kind = made.get("type")
        if isinstance(kind, list) and TYPE_LISTS in self._without:
            kind = made["type"] = next((each for each in kind if each != "null"), "null")
        if kind is None and "properties" in made:
            kind = made["type"] = "object"
        elif kind is None and "items" in made:
            kind = made["type"] = "array"
        kinds = kind if isinstance(kind, list) else [kind]
        for name, own in (("object", "properties"), ("array", "items")):
            if name in kinds:
                made.setdefault(own, {})
            elif kind is not None:
                made.pop(own, None)
        if "const" in node and "const" in self._without and "enum" not in self._without:
            made["enum"] = [node["const"]]
        for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            # Draft 4 has a flag beside the limit.
            if isinstance(made.get(bound), bool) and made.pop(bound) and limit in made:
                made[bound] = made.pop(limit)
        self._tidy_required(made)

    def _tidy_required(self, made: dict[str, Any]) -> None:
        required = made.pop("required", None)
        properties = made.get("properties")
        if isinstance(required, list) and isinstance(properties, dict):
            names = list(dict.fromkeys(each for each in required if isinstance(each, str)))
            for name in names:
                properties.setdefault(name, {})
            if names:
                made["required"] = names

    def _merged(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the node with the first alternative in the place of a combinator not taken."""
        for key in COMBINATORS:
            options = node.get(key)
            if key not in self._without or not isinstance(options, list):
                continue
            chosen = [each for each in options if isinstance(each, Mapping)]
            real = [each for each in chosen if each.get("type") != "null"] or chosen
            picked = real if key == "allOf" else real[:1]
            beside = {name: each for name, each in node.items() if name != key}
            node = {name: each for option in picked for name, each in option.items()} | beside
        return node

    def _inline(self, reference: str, node: Mapping[str, Any], depth: int) -> dict[str, Any]:
        target = _target(reference, self._root)
        self._inlined += 1
        if target is None or reference in self._open or self._inlined > MAX_INLINED:
            return {}
        beside = {key: each for key, each in node.items() if key != "$ref"}
        self._open.append(reference)
        made = self.walk({**target, **beside}, depth + 1)
        self._open.pop()
        return made


def _rename_keys(schema: dict[str, Any]) -> dict[str, str]:
    """Give the properties at the top keys that all take; return the tool's own by the new ones."""
    properties = schema["properties"]
    renamed: dict[str, str] = {}
    for key in [each for each in properties if not _KEY.fullmatch(each)]:
        digest = hashlib.sha256(key.encode(errors="replace")).hexdigest()[:6]
        made = f"{_NOT_IN_KEYS.sub('_', key)[:57]}_{digest}"
        renamed[made] = key
    if renamed:
        new = {own: made for made, own in renamed.items()}
        schema["properties"] = {new.get(key, key): each for key, each in properties.items()}
        if "required" in schema:
            schema["required"] = [new.get(key, key) for key in schema["required"]]
    return renamed
