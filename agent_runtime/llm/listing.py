"""What a provider's list of models says of their context windows.

Sources: the API reference of OpenRouter (`context_length`, `top_provider`), the code of vLLM
(`max_model_len`).
"""

from __future__ import annotations

from typing import Any

from agent_runtime.context.window import SMALLEST_WINDOW, Window, WindowSource

MAX_TOKENS = 100_000_000  # what is larger is no number of tokens


def windows_in(body: Any) -> dict[str, Window]:
    """Return the windows by model that the body of a list of models tells; odd entries none."""
    listed = body.get("data") if isinstance(body, dict) else None
    found = {}
    for entry in listed if isinstance(listed, list) else ():
        name = entry.get("id") if isinstance(entry, dict) else None
        window = _window(entry) if isinstance(name, str) else None
        if window is not None and isinstance(name, str):
            found[name] = window
    return found


def _window(entry: dict[str, Any]) -> Window | None:
    """Return the smallest of the windows that an entry names."""
    top = entry.get("top_provider")
    top = top if isinstance(top, dict) else {}
    named = (entry.get("context_length"), top.get("context_length"), entry.get("max_model_len"))
    sizes = [size for size in map(_tokens, named) if size is not None and size >= SMALLEST_WINDOW]
    if not sizes:
        return None
    return Window(
        tokens=min(sizes),
        source=WindowSource.PROVIDER,
        max_output=_tokens(top.get("max_completion_tokens")),
    )


def _tokens(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 < value <= MAX_TOKENS else None
