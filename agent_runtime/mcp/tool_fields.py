"""What of a listed tool is used: its name, its description, its arguments, two hints.

Each tool is read by itself. What is optional and wrong is dropped; what generators of schemas
commonly write for "no arguments" is taken as that; only a tool that cannot be called is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent_runtime.mcp.json_budget import Unread
from agent_runtime.mcp.schema_walk import UnusableSchema

MAX_NAME_CHARS = 200

# `inputSchema` is the protocol's; the others are what other protocols call it.
_SCHEMA_KEYS = ("inputSchema", "input_schema", "parameters")
_DIALECT = frozenset(("$schema", "additionalProperties", "title", "description"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFields:
    """A tool as its server lists it. `repeatable` is its own hint."""

    name: str
    description: str
    schema: dict[str, Any]
    repeatable: bool


def name_of(listed: Any) -> str:
    """Return the name under which a tool is told to be left out."""
    name = listed.get("name") if isinstance(listed, dict) else None
    return name[:MAX_NAME_CHARS] if isinstance(name, str) and name else "(no name)"


def read_tool(listed: Any) -> ToolFields:
    """Return what is used of a listed tool. Raises UnusableSchema."""
    if isinstance(listed, Unread):
        raise UnusableSchema("it is too large")
    if not isinstance(listed, dict) or not isinstance(listed.get("name"), str):
        raise UnusableSchema("it has no name")
    hints = listed.get("annotations")
    hints = hints if isinstance(hints, dict) else {}
    described = (listed.get("description"), listed.get("title"), hints.get("title"))
    found = (listed[key] for key in _SCHEMA_KEYS if key in listed)
    return ToolFields(
        name=listed["name"],
        description=next((each for each in described if isinstance(each, str) and each), ""),
        schema=object_schema(next(found, None)),
        repeatable=hints.get("readOnlyHint") is True or hints.get("idempotentHint") is True,
    )


def object_schema(found: Any) -> dict[str, Any]:
    """Return a schema of arguments, which are always an object. Raises UnusableSchema."""
    if isinstance(found, str):
        found = _decoded(found)
    if found is None or found is True or found == [] or found == {}:  # PHP writes {} as []
        return {"type": "object", "properties": {}}
    if not isinstance(found, dict):
        raise UnusableSchema("its schema is not an object")
    schema = {**found, "type": _type(found.get("type"))}
    if "properties" in found or not (found.keys() - _DIALECT):
        schema["properties"] = _properties(schema)
    return schema


def _decoded(text: str) -> Any:
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        raise UnusableSchema("its schema is not an object") from None


def _type(found: Any) -> str:
    if found is None or found == "object" or (isinstance(found, list) and "object" in found):
        return "object"
    raise UnusableSchema("its arguments are not an object")


def _properties(schema: dict[str, Any]) -> Mapping[str, Any]:
    """Return the properties that are schemas; a list of required ones among them moves up."""
    found = schema.get("properties")
    if found is None or found == []:
        return {}
    if not isinstance(found, dict):
        raise UnusableSchema("its properties are not an object")
    kept = {name: {} if each in (None, []) else each for name, each in found.items()}
    odd = [name for name, each in kept.items() if not isinstance(each, dict | bool)]
    for name in odd:
        del kept[name]
    if "required" in odd and "required" not in schema and isinstance(found["required"], list):
        schema["required"] = [each for each in found["required"] if each in kept]
    return kept
