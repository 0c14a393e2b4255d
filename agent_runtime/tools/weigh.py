"""Weigh JSON before it is parsed into objects and models.

Small in bytes can be large in memory: a list of a million empty objects is 3 MB of text and
200 MB of objects, and a list of as many wrong items is 700 MB of validation errors.
"""

from __future__ import annotations

import json
from typing import Any

MAX_VALUES = 60_000  # in one message
MAX_TYPED_VALUES = 20_000  # of those, outside what the protocol leaves to the server
LIGHT = 2_000  # not worth a closer look

# Where the protocol takes any JSON, so that nothing is validated item by item.
FREE_FORM = frozenset({"structuredContent", "inputSchema", "outputSchema", "_meta"})


def is_too_heavy(message: bytes) -> bool:
    """Return True for a message whose objects or validation would take too much memory."""
    if message.count(b",") + _opened(message) <= LIGHT:
        return False
    plain = message.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 4 * MAX_VALUES:  # a key and a string for each value
        return True
    outside = b"".join(plain.split(b'"')[::2])
    values = outside.count(b",") + _opened(outside)
    return values > MAX_VALUES or (values > LIGHT and _typed_values(message) > MAX_TYPED_VALUES)


def _opened(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _typed_values(message: bytes) -> int:
    try:
        waiting: list[Any] = [json.loads(message)]
    except (ValueError, RecursionError):
        return 0  # refused by the SDK's parser too, with one error
    count = 0
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            count += len(node)
            waiting.extend(value for key, value in node.items() if key not in FREE_FORM)
        elif isinstance(node, list):
            count += len(node)
            waiting.extend(each for each in node if isinstance(each, dict | list))
    return count
