"""The model's own messages as they go back to it: all that it needs, in a form that all take.

Reasoning, signatures and unknown keys go back unchanged. What says nothing is left out: providers
refuse in a request what they, or the gateway before them, put into an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NO_ANSWER = "(no answer)"  # for a message without words: strict templates want roles to alternate
_OWN = ("role", "content")
_PLAIN_TEXT = frozenset(("type", "text"))


def echo(received: Mapping[str, Any]) -> dict[str, Any]:
    """Return the assistant's message for a request.

    Keys that are null or an empty list are left out, at the top and in tool calls. Blank content
    beside tool calls is null; without calls the refusal stands for it, or NO_ANSWER.
    """
    kept = {
        key: value
        for key, value in received.items()
        if key not in _OWN and value is not None and value != []
    }
    calls = kept.get("tool_calls")
    if isinstance(calls, list):
        kept["tool_calls"] = [_call(each) for each in calls]
    content = _content(received.get("content"))
    if content is None and not calls:
        refusal = kept.pop("refusal", None)
        content = refusal if isinstance(refusal, str) and refusal.strip() else NO_ANSWER
    return {"role": "assistant", "content": content, **kept}


def _call(call: Any) -> Any:
    if not isinstance(call, Mapping):
        return call
    return {
        key: _call(value) if key == "function" else value
        for key, value in call.items()
        if value is not None
    }


def _content(content: Any) -> Any:
    """Return the content without blank parts, as one text where it is nothing else, or None."""
    if isinstance(content, str):
        return content if content.strip() else None
    parts = content if isinstance(content, list) else [content]
    kept = [_part(each) for each in parts if not _is_blank(each)]
    if kept and all(_PLAIN_TEXT.issuperset(each) for each in kept):
        return _content("".join(each["text"] for each in kept))
    return kept or None


def _part(part: Any) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {key: value for key, value in part.items() if key != "index"}


def _is_blank(part: Any) -> bool:
    """Say whether a part of the content is no object, or text that is empty."""
    if isinstance(part, str):
        return not part
    if not isinstance(part, Mapping):
        return True
    return part.get("type", "text") == "text" and not (
        isinstance(part.get("text"), str) and part["text"]
    )
