"""Text and JSON that others wrote, made fit to be stored, shown and sent on.

PostgreSQL refuses NUL in text, NUL and lone surrogates in `jsonb`, and numbers that are not
finite; UTF-8 has no lone surrogates; other control characters do harm in terminals and logs.
"""

from __future__ import annotations

import math
import re
from typing import Any

MAX_DEPTH = 100  # containers within containers; deeper ones are replaced by TOO_DEEP
TOO_DEEP = "[nested too deep]"

_HALF = "\ud800-\udfff"  # one half of a character outside the basic plane
_CONTROL = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # all but tab, line feed, carriage return
LINE_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"  # in a pattern: line breaks and all controls
CONTROL_REFUSED = "Line breaks and other control characters are not allowed here."
_LINE_CONTROL = re.compile(f"[{LINE_CONTROLS}]")
_UNFIT = re.compile(f"[{_CONTROL}{_HALF}]")
_HALVES = re.compile(f"[{_HALF}]")
_CONTROLS = re.compile(f"[{_CONTROL}]")


def holds_control_characters(text: str) -> bool:
    """Tell whether the text holds line breaks or other control characters."""
    return _LINE_CONTROL.search(text) is not None


def clean_text(text: str) -> str:
    """Return the text without control characters; the same object when there were none.

    Tab, line feed and carriage return stay. Two halves of one character that met again (a
    stream may cut between them) are joined; a half that stays alone becomes U+FFFD.
    """
    if not _UNFIT.search(text):
        return text
    if _HALVES.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _CONTROLS.sub("", text)


def clean(value: Any) -> Any:
    """Return nested JSON with every string and key cleaned; the same object when all is fit.

    Numbers that are not finite become None. Containers nested deeper than MAX_DEPTH become
    the string TOO_DEEP. Keys that are equal once cleaned: the last one wins.
    """
    return value if _is_fit(value, MAX_DEPTH) else _rebuilt(value, MAX_DEPTH)


def _is_fit(value: Any, depth: int) -> bool:
    if isinstance(value, str):
        return not _UNFIT.search(value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return depth > 0 and all(
            not _UNFIT.search(key) and _is_fit(each, depth - 1) for key, each in value.items()
        )
    if isinstance(value, list | tuple):
        return depth > 0 and all(_is_fit(each, depth - 1) for each in value)
    return True


def _rebuilt(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict | list | tuple) and depth <= 0:
        return TOO_DEEP
    if isinstance(value, dict):
        return {clean_text(key): _rebuilt(each, depth - 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rebuilt(each, depth - 1) for each in value]
    return value
