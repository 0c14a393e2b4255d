"""Take the run's own secrets out of whatever a server sends back."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agent_runtime.net.redaction import Redactor

REMOVED = "[secret removed]"


class Scrubber:
    """Removes secrets in the encodings in which an echo may hold them: see `redaction`.

    `renewed` returns those that came since, which are removed too.
    """

    def __init__(
        self, *, secrets: Iterable[str], renewed: Callable[[], Iterable[str]] = tuple
    ) -> None:
        self._fixed = frozenset(secrets)
        self._renewed = renewed
        self._secrets = self._fixed | frozenset(renewed())
        self._redactor = Redactor(secrets=self._secrets, replacement=REMOVED)

    def scrub(self, text: str) -> str:
        """Return `text` with each secret replaced by a note."""
        secrets = self._fixed | frozenset(self._renewed())
        if secrets != self._secrets:
            self._secrets = secrets
            self._redactor = Redactor(secrets=secrets, replacement=REMOVED)
        return self._redactor.redact(text)
