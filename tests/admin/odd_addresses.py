"""Addresses that somebody could type: every page of the admin with parameters of every kind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

from django.contrib import admin
from django.db.models import Model

TEXT = ("exact", "iexact", "contains", "icontains", "startswith", "endswith", "regex", "iregex")
OTHER = ("gt", "gte", "lt", "lte", "in", "range", "isnull", "year", "date", "len", "has_key")
JSON = ("contained_by", "contains", "has_keys", "0", "schema", "key__startswith")
ODD = (
    *("", "x", "0", "-1", "1", "99999999999999999999", "1.5", "1e3", "٣", "True", "null", "None"),
    *("[", "\\", "(a+)+$", "{", "}", "{}", '{"a":', "%", "_", "'", '"', '"a', "a'b", ";--", "1,2"),
    *("a" * 201, "a " * 120, "9" * 5_000, "\0", "a\0b", "é", "\U0001f600", "\u202e", "..", "//x"),
    *("2026-01-01", "2026-13-45", "0001-01-01T00:00:00+23:59", "00:00", "-1.-2", "--1", "1.x"),
    *("00000000-0000-0000-0000-000000000000", "00000000", "javascript:x", "id", "digest"),
)
DJANGO_S = (
    *("q", "p", "o", "all", "e", "_facets", "_popup", "_to_field", "_changelist_filters", "pk"),
    *("_saveasnew", "_source_model", "term", "page", "app_label", "model_name", "field_name"),
    *("action", "index", "select_across", "_selected_action", "next", "_save", "ids", "ct"),
)
OURS = ("task", "message", "seen", "until", "reason", "kept", "store", "until", "seconds", "part")
BYTES = ("%ff", "%ed%a0%80", "%c0%80", "%", "%zz", "%00", "+", "%25%30%30")


@dataclass(frozen=True, slots=True, kw_only=True)
class Odd:
    """An address, and one like it that asks about something else, where it asks a question."""

    address: str
    counterpart: str | None = None


def paths_of(model: type[Model], depth: int) -> Iterator[str]:
    """Yield every field of the model as a lookup, and those of what it points at."""
    for field in model._meta.get_fields():
        yield field.name
        related: Any = field.related_model
        if related is not None and depth and related != "self":
            for each in paths_of(related, depth - 1):
                yield f"{field.name}__{each}"


class Lists:
    """The lists of the admin, and what an address could ask of their models' fields."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._paths = {
            f"/admin/{model._meta.app_label}/{model._meta.model_name}/": (
                list(paths_of(model, 0)),
                list(paths_of(model, 1)),
                list(paths_of(model, 2)),
            )
            for model in admin.site._registry
        }

    def question(self, word: str) -> Odd:
        """Return a yes-no question about a list's rows: does one of its fields hold the word?"""
        page = self._rng.choice(list(self._paths))
        lookup = self._rng.choice((*TEXT, *TEXT, *OTHER, *JSON, ""))
        if lookup in (*TEXT, "", "in"):
            asks, other = word, word[::-1]
        else:
            asks, other = self._rng.choice(("0", "1", "2000", word)), self._rng.choice(("9", "z"))
        name = self._lookup(page, lookup)
        return Odd(
            address=f"{page}?{name}={quote(asks)}", counterpart=f"{page}?{name}={quote(other)}"
        )

    def odd_filter(self) -> Odd:
        """Return a list, filtered by one of its fields with a value that may fit no field."""
        page = self._rng.choice(list(self._paths))
        name = self._lookup(page, self._rng.choice((*TEXT, *OTHER, *JSON, "")))
        return Odd(address=f"{page}?{name}={odd_value(self._rng)}")

    def _lookup(self, page: str, lookup: str) -> str:
        [near, nearby, far] = self._paths[page]
        path = self._rng.choice(self._rng.choice((near, near, nearby, far)))
        return f"{path}__{lookup}" if lookup else path


def odd_value(rng: random.Random) -> str:
    """Return something to stand behind a parameter's name, encoded or on purpose not."""
    return rng.choice(BYTES) if rng.random() < 0.1 else quote(rng.choice(ODD))


def odd_parameters(*, pages: list[str], rng: random.Random) -> Odd:
    """Return a page with parameters of Django's or of ours, known to the page or not."""
    page = rng.choice(pages)
    names = [rng.choice((*DJANGO_S, *OURS)) for _ in range(rng.randint(1, 3))]
    pairs = "&".join(f"{name}={odd_value(rng)}" for name in names)
    return Odd(address=f"{page}{'&' if '?' in page else '?'}{pairs}")


def stray(*, pages: list[str], rng: random.Random) -> Odd:
    """Return an address like that of a page, one part of it exchanged."""
    words = ("_00", "_5F", "change", "add", "r", "autocomplete", "history", "delete", "7")
    parts, long = (*ODD[:40], *words), [each for each in pages if each != "/admin/"]
    found = rng.choice(long).partition("?")[0].strip("/").split("/")
    found[rng.randrange(1, len(found))] = quote(rng.choice(parts), safe="")
    return Odd(address=f"/{'/'.join(found)}/")


class Fields(HTMLParser):
    """The fields of a page's forms, each with the value that it would be sent with."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self._select = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take an input with its value, or a choice with its last option."""
        given = dict(attrs)
        name = given.get("name") or ""
        if tag == "select":
            self._select = name
        elif tag == "option" and self._select:
            self.values[self._select] = given.get("value") or ""
        elif tag in ("input", "textarea") and name:
            self.values[name] = given.get("value") or "plain text"


def odd_form(*, fields: dict[str, str], rng: random.Random) -> dict[str, list[str]]:
    """Return answers to a page's form: those that it would take, but for a few odd ones."""
    given = {name: [value] for name, value in fields.items()}
    names = [*rng.sample(list(fields), min(len(fields), rng.randint(0, 2)))]
    for name in (*names, rng.choice((*DJANGO_S, *OURS))):
        given[name] = [rng.choice(ODD) for _ in range(rng.choice((1, 1, 1, 2)))]
    return given
