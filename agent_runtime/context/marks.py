"""How the context of a request was made: journalled, so that it can be built again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from agent_runtime.context.places import Place
from agent_runtime.context.window import Window, WindowSource

FORMAT = 1  # of masked lines, notices and frames; a newer one keeps the functions of the older


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The context of one request. It is in the `request` of the step that the request led to.

    Results before `masked` are one line each. `sent` is the size of the request in bytes and
    `tokens` what that was estimated to be; both without the answer.
    """

    window: Window
    masked: Place | None = None
    sent: int = 0
    tokens: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the mark as a step's row keeps it."""
        kept: dict[str, Any] = {
            "format": FORMAT,
            "window": self.window.tokens,
            "source": self.window.source.value,
            "sent": self.sent,
            "tokens": self.tokens,
        }
        if self.window.max_output:
            kept["max_output"] = self.window.max_output
        if self.masked:
            kept["masked"] = self.masked.handle
        return kept

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """Return the mark that a row keeps."""
        return cls(
            window=Window(
                tokens=kept["window"],
                source=WindowSource(kept["source"]),
                max_output=kept.get("max_output"),
            ),
            masked=Place.parse(kept.get("masked", "")),
            sent=kept["sent"],
            tokens=kept["tokens"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What replaces all steps up to `through`; it was asked for after the step `made_after`.

    `pinned` are texts that stay word for word: the caller's further messages, the body of the
    required skill. `ledger` is written by code when the summary is made, and does not change.
    """

    through: Place
    made_after: Place
    text: str
    ledger: str = ""
    pinned: tuple[str, ...] = ()
