"""The description in plainer terms, as generators of clients read them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any


def without_defaults(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Take the defaults off the properties of all schemas; drf-spectacular's postprocessing hook.

    What is optional is left out, and null stands for absent. Generators read a default as what
    they have to send, or as what is always there.
    """
    for schema in result["components"]["schemas"].values():
        for found in _properties(schema):
            found.pop("default", None)
    return result


def _properties(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from schema.get("properties", {}).values()
    for each in schema.get("allOf", ()):
        yield from _properties(each)


def with_shared_errors(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Write each error that several operations answer with once; a postprocessing hook too."""
    operations = [each for path in result["paths"].values() for each in path.values()]
    seen = Counter(
        json.dumps(response, sort_keys=True)
        for operation in operations
        for status, response in operation["responses"].items()
        if status >= "400"
    )
    shared: dict[str, Any] = {}
    for operation in operations:
        for status, response in operation["responses"].items():
            if seen[json.dumps(response, sort_keys=True)] > 1:
                name = _name(response)
                if shared.setdefault(name, response) == response:
                    reference = {"$ref": f"#/components/responses/{name}"}
                    operation["responses"][status] = reference
    result["components"]["responses"] = dict(sorted(shared.items()))
    return result


def _name(response: dict[str, Any]) -> str:
    [example] = response["content"]["application/json"]["examples"].values()
    return str(example["value"]["code"])
