"""Take the run's own secrets out of whatever a server sends back."""

from __future__ import annotations

from collections.abc import Iterable

from agent_runtime.net.redaction import Redactor

REMOVED = "[secret removed]"


class Scrubber:
    """Removes secrets in the encodings in which an echo may hold them: see `redaction`."""

    def __init__(self, *, secrets: Iterable[str]) -> None:
        self._redactor = Redactor(secrets=secrets, replacement=REMOVED)

    def scrub(self, text: str) -> str:
        """Return `text` with each secret replaced by a note."""
        return self._redactor.redact(text)
