"""Argument schemas of tools: examined when they are listed, compiled when they are needed.

A schema comes from a server. It may point at files and addresses, hold a pattern that takes
for ever, or name so many paths that any validator holds the process for minutes. So nothing
is fetched, patterns run on the linear engine, and what it costs is counted before it is spent.
The validator holds the interpreter while it compiles and while it checks: a thread would not
help, a budget does. What is over the budget is left to the server, which checks again anyway.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import jsonschema_rs

from agent_runtime.mcp.schema_walk import (
    Parts,
    UnusableSchema,
    parts_of,
    patterns_of,
    ways_of,
    without_patterns,
)

MAX_SCHEMA_BYTES = 64_000
MAX_ARGUMENT_DEPTH = 64
MAX_UNROLLED = 20_000  # visits that nested arguments may cost in a recursive schema
MAX_PROBLEMS = 3  # named at once to the model
MAX_PROBLEM_CHARS = 300

# To compile: all together at most about a twentieth of a second.
MAX_COMPILED_VALUES = 4_000  # in a schema
MAX_PATTERNS = 32
MAX_PATTERN_CHARS = 400
MAX_PATTERN_SECONDS = 0.02  # of the processor, for all patterns of a schema
LINEAR = jsonschema_rs.RegexOptions(size_limit=50_000, dfa_size_limit=100_000)

# To check: paths times the size of the arguments, likewise.
MAX_CHECK_WORK = 300_000
MAX_MATCHED_CHARS = 100_000  # of the arguments, times the patterns
MAX_TOLD_WORK = 10_000  # to say what is wrong: each alternative costs a copy of the arguments
MAX_LISTED_WORK = 2_000  # to say several things
CHARS_A_VALUE = 100  # of text that cost what one value does

OBJECT_BYTES = 120  # that a value of a parsed schema takes beside its text, about
MAX_KEPT_BYTES = 32_000_000  # of compiled schemas in a process, as estimated
BYTES_A_VALUE = 2_000
BYTES_A_PATTERN = 150_000

NO_FIT = "arguments: they do not fit the schema."
DIALECTS = frozenset(
    f"{scheme}://json-schema.org/{draft}"
    for scheme in ("http", "https")
    for draft in (
        *(f"draft-0{number}/schema" for number in (4, 6, 7)),
        *(f"draft/{year}/schema" for year in ("2019-09", "2020-12")),
    )
)


@dataclass(slots=True, kw_only=True, weakref_slot=True)
class Checker:
    """An examined schema; it is compiled when arguments are checked.

    `checked_depth` is how deeply nested arguments are still checked: a recursive schema with
    many ways down would take for ever on deep ones. `weight` is in bytes, of the schema's objects.
    """

    schema: Mapping[str, Any]
    digest: bytes
    parts: Parts
    paths: int
    alternatives: int
    checked_depth: int
    weight: int

    def check(self, arguments: Mapping[str, Any]) -> str | None:
        """Return what is wrong with the arguments, as sentences for the model, or None.

        What is too dear to check, or to tell, is left to the server. Holds the interpreter for
        a few hundredths of a second at most.
        """
        depth, values, chars = _measure(arguments)
        if depth > MAX_ARGUMENT_DEPTH:
            return f"The arguments are nested deeper than {MAX_ARGUMENT_DEPTH} levels."
        size = values + chars // CHARS_A_VALUE
        if depth > self.checked_depth or self.paths * size > MAX_CHECK_WORK:
            return None
        validator, patterns = _compiled.get(self)
        if validator is None or patterns * chars > MAX_MATCHED_CHARS:
            return None
        try:
            if validator.is_valid(arguments):
                return None
            return " ".join(map(_sentence, self._problems(validator, arguments, size))) or NO_FIT
        except ValueError as error:
            if isinstance(error, jsonschema_rs.ValidationError):
                return _sentence(error)
            return "The arguments hold text that is not valid Unicode."

    def _problems(
        self, validator: jsonschema_rs.Validator, arguments: Mapping[str, Any], size: int
    ) -> list[jsonschema_rs.ValidationError]:
        """Return what can be told at a bearable price; the validator finds all errors or one."""
        if self.paths * size <= MAX_LISTED_WORK:
            return list(itertools.islice(validator.iter_errors(arguments), MAX_PROBLEMS))
        if (1 + self.alternatives) * size <= MAX_TOLD_WORK:
            validator.validate(arguments)
        return []


class CompiledSchemas:
    """The validators of this process, those longest unused going first.

    They are not kept with their schemas: a catalogue of two thousand tools has a few that are
    called. `max_weight` is in bytes, as estimated from values and patterns.
    """

    def __init__(self, *, max_weight: int = MAX_KEPT_BYTES) -> None:
        self._max_weight = max_weight
        self._kept: OrderedDict[bytes, tuple[jsonschema_rs.Validator | None, int, int]] = (
            OrderedDict()
        )
        self.weight = 0

    def get(self, checker: Checker) -> tuple[jsonschema_rs.Validator | None, int]:
        """Return the validator, None for a schema that is not checked, and its patterns."""
        found = self._kept.get(checker.digest)
        if found is None:
            validator, patterns = _validator(checker)
            found = validator, patterns, _weight(checker, patterns)
            self._kept[checker.digest] = found
            self.weight += found[2]
        self._kept.move_to_end(checker.digest)
        while self.weight > self._max_weight and len(self._kept) > 1:
            _, (_, _, weight) = self._kept.popitem(last=False)
            self.weight -= weight
        return found[:2]


_examined: WeakValueDictionary[bytes, Checker] = WeakValueDictionary()
_compiled = CompiledSchemas()


def compile_schema(schema: Mapping[str, Any]) -> Checker:
    """Return the checker of a schema; equal schemas share one while anybody holds it.

    Raises UnusableSchema.
    """
    try:
        text = json.dumps(schema, ensure_ascii=False, sort_keys=True).encode()
    except (UnicodeEncodeError, RecursionError):
        raise UnusableSchema("it is not valid JSON text") from None
    if len(text) > MAX_SCHEMA_BYTES:
        raise UnusableSchema("it is too large")
    if b"\\u0000" in text:
        raise UnusableSchema("it is not valid JSON text")
    digest = hashlib.sha256(text).digest()
    found = _examined.get(digest)
    if found is None:
        found = _examined[digest] = _examine(dict(schema), digest, len(text))
    return found


def _examine(schema: dict[str, Any], digest: bytes, size: int) -> Checker:
    parts = parts_of(schema)
    ways = ways_of(schema, parts)
    if not _is_valid(schema):
        raise UnusableSchema("it is not a valid JSON Schema")
    unrolled = math.log(MAX_UNROLLED, ways.loops) if ways.loops > 1 else MAX_ARGUMENT_DEPTH
    return Checker(
        schema=schema,
        digest=digest,
        parts=parts,
        paths=ways.paths,
        alternatives=ways.alternatives,
        checked_depth=round(unrolled),
        weight=size + OBJECT_BYTES * parts.values,
    )


def _is_valid(schema: dict[str, Any]) -> bool:
    """Tell whether it is a schema of a dialect that we know: others would be fetched."""
    dialect = schema.get("$schema", "")
    if not isinstance(dialect, str) or (dialect and dialect.rstrip("#") not in DIALECTS):
        return False
    return jsonschema_rs.meta.is_valid(schema) or jsonschema_rs.meta.is_valid(
        without_patterns(schema, set(patterns_of(schema)))
    )


def _validator(checker: Checker) -> tuple[jsonschema_rs.Validator | None, int]:
    """Compile what the budget allows of a schema; return it and how many patterns it has."""
    if checker.parts.values > MAX_COMPILED_VALUES:
        return None, 0
    patterns = patterns_of(checker.schema)
    kept = _affordable(patterns)
    schema: Any = checker.schema
    if len(kept) < len(patterns):
        schema = without_patterns(schema, set(patterns) - kept)
    try:
        return _compile(schema), len(kept)
    except ValueError:
        return None, 0


def _affordable(patterns: list[str]) -> set[str]:
    """Return the patterns that the linear engine takes, to the budget.

    It does not know look-ahead, for one, which popular generators write for e-mail addresses.
    """
    kept: set[str] = set()
    until = time.thread_time() + MAX_PATTERN_SECONDS
    for pattern in patterns[:MAX_PATTERNS]:
        if time.thread_time() > until:
            break
        if len(pattern) <= MAX_PATTERN_CHARS and _is_linear(pattern):
            kept.add(pattern)
    return kept


def _is_linear(pattern: str) -> bool:
    try:
        _compile({"pattern": pattern})
    except ValueError:
        return False
    return True


def _compile(schema: Any) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(schema, retriever=_refuse_to_fetch, pattern_options=LINEAR)


def _refuse_to_fetch(uri: str) -> Any:
    raise ValueError("schemas of other documents are not fetched")


def _weight(checker: Checker, patterns: int) -> int:
    return checker.parts.values * BYTES_A_VALUE + patterns * BYTES_A_PATTERN


def _measure(arguments: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return how deep arguments are, how many values they hold, and how many characters."""
    deepest, values, chars = 0, 0, 0
    waiting: list[tuple[Mapping[str, Any] | list[Any], int]] = [(arguments, 1)]
    while waiting:
        node, level = waiting.pop()
        deepest = max(deepest, level)
        values += len(node)
        if isinstance(node, Mapping):
            chars += sum(map(len, node))
        for each in node.values() if isinstance(node, Mapping) else node:
            if isinstance(each, str):
                chars += len(each)
            elif isinstance(each, Mapping | list):
                waiting.append((each, level + 1))
    return deepest, values, chars


def _sentence(error: jsonschema_rs.ValidationError) -> str:
    where = "".join(
        f"[{each}]" if isinstance(each, int) else f".{each}" for each in error.instance_path
    )
    problem = error.message[:MAX_PROBLEM_CHARS]
    return f"{where.lstrip('.') or 'arguments'}: {problem}."
