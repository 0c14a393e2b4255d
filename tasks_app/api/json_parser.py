"""Reading what a client sends: strict JSON, and nothing but JSON.

The standard library's reader takes duplicate keys, NaN, 1e400, NUL, half a surrogate pair and
any depth. Each of those would be a surprise further down (PostgreSQL stores no NUL), so each is
refused here, with the field named.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

from django.utils.encoding import force_str
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from caylex_project.web.http_problem import JSON, PROBLEM_JSON, accepts
from tasks_app.api.errors import BadFields, FieldError, Problem

MAX_DEPTH = 64  # objects and arrays within each other
MAX_DIGITS = 100  # of a whole number; reading a longer one takes quadratic time
# Each object, each array, and each value after the first within one. A million empty arrays are
# a body of 3 MB and objects of 100 MB, so that they are counted before one of them is made.
MAX_ELEMENTS = 2_000
# Who asks for problems alone asks for the form of an error; a success is JSON all the same.
_ACCEPTABLE = frozenset({"*/*", "application/*", JSON, PROBLEM_JSON})
# A string as one piece, closed or not, or what begins an element. Possessive: no backtracking.
_PIECE = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[,\[{]', re.DOTALL)
_MOST_PIECES = 3 * MAX_ELEMENTS + 2  # of valid JSON within the limit: two strings an element
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")

Path = tuple[str | int, ...]  # where a value is; written out for an error alone


class StrictJSONParser(BaseParser):
    """The API's one parser."""

    media_type = JSON

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the object that the body holds. Raises BadFields or Problem, status 400."""
        return read_object(stream.read())


class JSONOnlyNegotiation(BaseContentNegotiation):
    """JSON in and JSON out, told from the headers without parsing their parameters."""

    def select_parser(self, request: Request, parsers: Sequence[BaseParser]) -> BaseParser | None:  # type: ignore[override]
        """Return the parser for `application/json`, in UTF-8 if it says so; None is 415."""
        kind, *parameters = request.content_type.lower().split(";")
        charsets = [each.strip() for each in parameters if each.strip().startswith("charset")]
        in_utf8 = all(each.partition("=")[2].strip('" ') in ("utf-8", "utf8") for each in charsets)
        return parsers[0] if kind.strip() == JSON and in_utf8 else None

    def select_renderer(  # type: ignore[override]
        self,
        request: Request,
        renderers: Sequence[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        """Return the JSON renderer. Raises NotAcceptable where `Accept` excludes JSON."""
        header = force_str(request.META.get("HTTP_ACCEPT", "")) or "*/*"
        if not accepts(header, _ACCEPTABLE):
            raise NotAcceptable("Answers are application/json.")
        return renderers[0], JSON


@dataclass(frozen=True, slots=True)
class _Pairs:
    """A JSON object as it was written, duplicates and all."""

    items: list[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class _Unusable:
    """A number that JSON does not have, or that no column could hold."""

    message: str


def _constant(text: str) -> _Unusable:
    return _Unusable(f"{text} is not JSON.")


def _float(text: str) -> float | _Unusable:
    number = float(text)
    return number if math.isfinite(number) else _Unusable("The number is too large.")


def _int(text: str) -> int | _Unusable:
    return int(text) if len(text) <= MAX_DIGITS else _Unusable("The number is too large.")


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that `body` holds.

    Raises Problem (400 `invalid_json`) where it is no JSON object in UTF-8, and BadFields where
    a key is there twice, a text holds NUL or half a surrogate pair, a number is not finite, the
    nesting is deeper than MAX_DEPTH, or there are more than MAX_ELEMENTS elements.
    """
    if not body.strip():
        raise Problem(status=400, code="invalid_json", detail="The body is empty.")
    if not _few_elements(body):
        message = f"A body has at most {MAX_ELEMENTS:,} objects, arrays and values."
        raise BadFields([FieldError(field="", code="too_many_values", message=message)])
    try:
        read = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_Pairs,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_int,
        )
    except UnicodeDecodeError:
        raise Problem(
            status=400, code="invalid_json", detail="The body is not UTF-8 text."
        ) from None
    except ValueError as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise Problem(
            status=400, code="invalid_json", detail=f"The body is not JSON{where}."
        ) from None
    except RecursionError:
        raise _too_deep(()) from None
    if not isinstance(read, _Pairs):
        raise Problem(status=400, code="invalid_json", detail="The body must be a JSON object.")
    checked: dict[str, Any] = _checked(read, path=(), depth=1)
    return checked


def _few_elements(body: bytes) -> bool:
    """Tell whether the body has at most MAX_ELEMENTS elements, without reading it as JSON."""
    if sum(body.count(each) for each in (b",", b"[", b"{")) <= MAX_ELEMENTS:
        return True
    pieces = list(islice(_PIECE.finditer(body), _MOST_PIECES + 1))
    elements = sum(body[each.start()] != ord('"') for each in pieces)
    return len(pieces) <= _MOST_PIECES and elements <= MAX_ELEMENTS


def _checked(value: Any, *, path: Path, depth: int) -> Any:
    """Return `value` with its objects as dicts, or raise BadFields for the first bad spot."""
    if isinstance(value, str):
        _check_text(value, path=path)
        return value
    if isinstance(value, _Unusable):
        raise _bad_spot(path, code="invalid_number", message=value.message)
    if not isinstance(value, _Pairs | list):
        return value
    if depth > MAX_DEPTH:
        raise _too_deep(path)
    if isinstance(value, list):
        return [
            _checked(each, path=(*path, index), depth=depth + 1) for index, each in enumerate(value)
        ]
    read: dict[str, Any] = {}
    for key, each in value.items:
        inner = (*path, key)
        _check_text(key, path=inner)
        if key in read:
            raise _bad_spot(
                inner, code="duplicate_field", message="This field is there more than once."
            )
        read[key] = _checked(each, path=inner, depth=depth + 1)
    return read


def _check_text(text: str, *, path: Path) -> None:
    if "\x00" in text:
        message = "NUL (\\u0000) is not allowed in text."
    elif not text.isascii() and _HALF_A_PAIR.search(text):
        message = "Half a surrogate pair is not text."
    else:
        return
    raise _bad_spot(path, code="invalid_text", message=message)


def _too_deep(path: Path) -> BadFields:
    return _bad_spot(
        path, code="too_deep", message=f"Objects and arrays go at most {MAX_DEPTH} deep."
    )


def _bad_spot(path: Path, *, code: str, message: str) -> BadFields:
    """Return the error of one value, its place written like `limits.max_steps` or `a[1].b`."""
    place = ""
    for part in path:
        if isinstance(part, int):
            place += f"[{part}]"
        else:
            place += f".{part}" if place else part
    return BadFields([FieldError(field=place, code=code, message=message)])
