"""The arguments of a tool call, out of the text that the model wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agent_runtime.text import clean


def parse_arguments(text: str) -> Mapping[str, Any] | None:
    """Return the object that the model wrote, or None where it is none.

    Nothing, `null` and the empty list stand for no arguments.
    """
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
    if value is None or value == []:
        return {}
    return clean(value) if isinstance(value, dict) else None
