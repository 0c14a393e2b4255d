"""Taking known secrets out of text that others wrote, in the encodings that an echo may have.

A secret is found, whatever the case of its letters:

- as it is, and with invisible characters (control, zero width, soft hyphen) between its own;
- percent-encoded, every character or only those that have to be;
- with the escapes of JSON and HTML: `\\u0041`, `\\x41`, `&#65;`, up to four levels deep;
- in base64 and base64url at any alignment, also wrapped into lines as MIME does it;
- in hexadecimal, also in groups with white space between them.

Any other encoding (compressed, encrypted, reversed, split over two values) is not found.
"""

from __future__ import annotations

import base64
import bisect
import functools
import html
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus, unquote

MIN_SECRET = 4  # characters; a shorter one could not be told from ordinary words
LEVELS = 4  # of escapes within escapes: JSON in a text of JSON, which is a text of our JSON

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
# One character class in front, so that the search leaps over what can be no escape.
_ESCAPE = re.compile(
    r"[%\\&](?:"
    r"(?<=%)(?:[0-7][0-9A-Fa-f]|[89A-Fa-f][0-9A-Fa-f](?:%[89A-Fa-f][0-9A-Fa-f])*)"
    r"|(?<=\\)(?:u[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2}"
    r"|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[\"'\\/bfnrt])"
    r"|(?<=&)(?:#[0-9]{1,7};|#[xX][0-9A-Fa-f]{1,6};|(?:amp|lt|gt|quot|apos);))"
)
_SPACE = re.compile(r"\s+")
_ONE_LETTER = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Redactor:
    """Replaces the given secrets, wherever they stand, by `replacement`."""

    def __init__(self, *, secrets: Iterable[str], replacement: str) -> None:
        kept = {each for each in secrets if len(each) >= MIN_SECRET}
        self._replacement = replacement
        self._plain = _distinct(form for each in kept for form in _plain_forms(each))
        self._raw = _distinct(kept)
        self._packed = _distinct(form for each in kept for form in _packed_forms(each))

    def __repr__(self) -> str:
        return "Redactor()"

    def redact(self, text: str) -> str:
        """Return the text without the secrets; the same object when it holds none."""
        if not self._holds(text):
            return text
        parts, position = [], 0
        for start, end in _joined(sorted(self._places(text))):
            parts += [text[position:start], self._replacement]
            position = end
        return "".join([*parts, text[position:]])

    def redact_json(self, value: Any) -> Any:
        """Return nested JSON without the secrets; the same object when it holds none."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, dict):
            made = {self.redact(key): self.redact_json(each) for key, each in value.items()}
            same = all(a is b for a, b in zip(made.values(), value.values(), strict=False))
            return value if same and list(made) == list(value) else made
        if isinstance(value, list):
            items = [self.redact_json(each) for each in value]
            return value if all(a is b for a, b in zip(items, value, strict=True)) else items
        return value

    def _holds(self, text: str) -> bool:
        """Say whether any view of the text holds a secret, at the speed of plain searches."""
        if not self._plain:
            return False
        visible = _INVISIBLE.sub("", text)
        folded = _fold(visible)
        if any(form in folded for form in self._plain):
            return True
        decoded = visible
        for _ in range(LEVELS):
            encoded, decoded = decoded, _ESCAPE.sub(_decode, decoded)
            if decoded == encoded:
                break
        if decoded != visible:
            folded = _fold(_INVISIBLE.sub("", decoded))
            if any(form in folded for form in self._raw):
                return True
        packed = "".join(folded.split())
        return any(form in packed for form in self._packed)

    def _places(self, text: str) -> Iterator[tuple[int, int]]:
        """Return where the secrets stand in the text."""
        view = _View(text).replace(_INVISIBLE, lambda _: "")
        yield from view.find(self._plain)
        for _ in range(LEVELS):
            view = view.replace(_ESCAPE, _decode)
        view = view.replace(_INVISIBLE, lambda _: "")
        yield from view.find(self._raw)
        yield from view.replace(_SPACE, lambda _: "").find(self._packed)


class _View:
    """A text made from another one by replacing; finds its way back to places in that."""

    def __init__(self, text: str, *, source: _View | None = None) -> None:
        self.text = text
        self._source = source
        self._made: list[tuple[int, int]] = []  # spans in this text of what was replaced
        self._from: list[tuple[int, int]] = []  # and of what stood there in the source

    def replace(self, pattern: re.Pattern[str], make: Callable[[re.Match[str]], str]) -> _View:
        view = _View("", source=self)
        parts, position, size = [], 0, 0
        for match in pattern.finditer(self.text):
            start, end = match.span()
            made = make(match)
            parts += [self.text[position:start], made]
            size += start - position
            view._made.append((size, size + len(made)))
            view._from.append((start, end))
            size, position = size + len(made), end
        view.text = "".join([*parts, self.text[position:]])
        return view

    def find(self, forms: Iterable[str]) -> Iterator[tuple[int, int]]:
        """Yield where the forms stand, as places in the text that all views come from."""
        folded = _fold(self.text)
        for form in forms:
            at = folded.find(form)
            while at >= 0:
                yield self._original(at)[0], self._original(at + len(form) - 1)[1]
                at = folded.find(form, at + 1)

    def _original(self, at: int) -> tuple[int, int]:
        """Return the span of the first text that the character at `at` was made from."""
        if self._source is None:
            return at, at + 1
        before = bisect.bisect_right(self._made, (at, sys.maxsize)) - 1
        if before < 0:
            return self._source._original(at)
        (_, made_end), (start, end) = self._made[before], self._from[before]
        if at >= made_end:
            return self._source._original(at - made_end + end)
        return self._source._original(start)[0], self._source._original(end - 1)[1]


def _joined(places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Join places that overlap. They come sorted."""
    open_start = open_end = -1
    for start, end in places:
        if start < open_end:
            open_end = max(open_end, end)
            continue
        if open_end >= 0:
            yield open_start, open_end
        open_start, open_end = start, end
    if open_end >= 0:
        yield open_start, open_end


def _fold(text: str) -> str:
    """Return the text in lower case, each character in its place."""
    folded = text.lower()
    if len(folded) == len(text):
        return folded
    return "".join(low if len(low := each.lower()) == 1 else each for each in text)


def _decode(match: re.Match[str]) -> str:
    return _decoded(match[0])


@functools.lru_cache(maxsize=2_048)
def _decoded(escape: str) -> str:
    if escape[0] == "%":
        return unquote(escape)
    if escape[0] == "&":
        return html.unescape(escape)
    if escape[1] == "u":
        halves = [int(escape[at : at + 4], 16) for at in range(2, len(escape), 6)]
        units = b"".join(each.to_bytes(2, "big") for each in halves)
        return units.decode("utf-16-be", "replace")
    if escape[1] == "x":
        return chr(int(escape[2:], 16))
    return _ONE_LETTER.get(escape[1], escape[1])


def _distinct(forms: Iterable[str]) -> tuple[str, ...]:
    """Return the forms folded, the longest first, without those that are too short."""
    folded = {_fold(each) for each in forms}
    return tuple(sorted((each for each in folded if len(each) >= MIN_SECRET), key=len)[::-1])


def _plain_forms(secret: str) -> Iterator[str]:
    """Yield what is searched for before anything is decoded.

    A secret may itself hold what looks like an escape, and `+` stands for a space in forms.
    """
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield from (quote(secret, safe=""), quote(secret), quote_plus(secret))


def _packed_forms(secret: str) -> Iterator[str]:
    """Yield the forms that are searched for once white space is left out."""
    data = secret.encode(errors="replace")
    yield data.hex()
    yield from _base64_forms(data)


def _base64_forms(secret: bytes) -> Iterator[str]:
    """Yield what base64 makes of the secret wherever it stands within longer data.

    Characters that mix in bits of the neighbours are left off at both ends.
    """
    for offset, mixed in ((0, 0), (1, 2), (2, 3)):
        padded = bytes(offset) + secret
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(padded).decode().rstrip("=")
            end = len(text) if len(padded) % 3 == 0 else len(text) - 1
            yield text[mixed:end]
