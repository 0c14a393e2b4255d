"""Take the run's own secrets out of whatever a server sends back."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

REMOVED = "[secret removed]"
MIN_SECRET = 4  # characters; shorter ones would tear words apart (and are refused when saved)


class Scrubber:
    """Removes secrets in the forms in which an echo may hold them.

    Raw, percent-encoded, escaped as JSON, and base64 at any offset (as in a Basic header).
    """

    def __init__(self, *, secrets: Iterable[str]) -> None:
        forms = {form for each in secrets if len(each) >= MIN_SECRET for form in _forms(each)}
        self._forms = sorted(forms, key=len, reverse=True)

    def scrub(self, text: str) -> str:
        """Return `text` with each secret replaced by a note."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, REMOVED)
        return text


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    for encoded in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield encoded
        yield _lower_escapes(encoded)
    yield from _base64_forms(secret.encode(errors="replace"))


def _lower_escapes(encoded: str) -> str:
    first, *rest = encoded.split("%")
    return first + "".join("%" + part[:2].lower() + part[2:] for part in rest)


def _base64_forms(secret: bytes) -> Iterator[str]:
    """Yield what base64 makes of the secret wherever it stands within longer data.

    Characters that mix in bits of the neighbours are left off at both ends.
    """
    for offset, mixed in ((0, 0), (1, 2), (2, 3)):
        padded = bytes(offset) + secret
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(padded).decode().rstrip("=")
            end = len(text) if len(padded) % 3 == 0 else len(text) - 1
            if end - mixed >= MIN_SECRET:
                yield text[mixed:end]
