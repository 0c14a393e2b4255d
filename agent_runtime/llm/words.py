"""The words of a provider's error, of whatever shape, and what they say of the context's length."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 6  # of objects, and of JSON within texts
MAX_WORDS = 20_000  # characters

# What echoes the request, or helps nobody.
_NOT_WORDS = frozenset(
    ("input", "ctx", "url", "request_id", "requestid", "@type", "user_id", "domain")
)
_GENERIC = "provider returned error"  # a gateway's, when the model's maker failed
_TEXT_KEYS = ("message", "detail", "msg", "error_msg", "errmsg", "error_message", "errorMessage")
_MORE_TEXT_KEYS = ("status_msg", "title", "reason", "error", "errors")

_TOO_LONG = re.compile(
    r"context_length_exceeded|exceed_context_size|context_window_exceeded|context_limit"
    r"|maximum context length|context length (?:is )?exceeded|longer than the (?:model|maximum)"
    r"|(?:exceeds?|exceeded|greater than|larger than|beyond|over|overflows?)\b[^.]{0,60}"
    r"\bcontext (?:size|length|window)"
    r"|context (?:size|length|window)\b[^.]{0,40}\b(?:exceed|overflow|too small|full)"
    r"|when context the overflows"  # LM Studio, as it writes it
    r"|(?:prompt|input|request|message|conversation)s? (?:is|are|was) too long"
    r"|too large for model with \d+ maximum context"  # Mistral
    r"|maximum prompt length is \d+"  # xAI
    r"|input token count\b.{0,40}\bexceeds"  # Gemini
    r"|input length\b.{0,60}\bexceed|range of input length"  # SGLang; DashScope
    r"|prompt token count of \d+ exceeds"  # GitHub
    r"|exceeded model token limit"  # Moonshot
    r"|input tokens exceed"  # OpenAI
    r"|`inputs` (?:tokens|must have less than)"  # TGI
    r"|too many (?:input |total |prompt )?tokens\b(?!.{0,30}\bper\b)"  # Cohere, Bedrock
    r"|reduce the length of (?:the|your) (?:messages|prompt|input)"
    r"|(?:prompt|input)\b[^.]{0,40}\btokens?\b[^.]{0,40}\b(?:exceeds?|is larger than)",
    re.IGNORECASE,
)
# A limit on tokens in a time, on the answer's length, or on one field is none on the context.
_OTHER_LIMIT = re.compile(
    r"per (?:minute|hour|day|second)|\bTPM\b|rate.?limit|quota"
    r"|(?:string|array) (?:is )?too long|above_max_length",
    re.IGNORECASE,
)
_WINDOW = re.compile(
    r"(?:(?:context (?:length|window|size)|prompt length|model length|token limit)[^\d.(]{0,40}"
    r"|context size \(|allowed length \(|tokens allowed \(|configured limit of "
    r"|exceeds the limit of |> |<= |model with )(\d[\d,_]{2,11})",
    re.IGNORECASE,
)
SMALLEST_WINDOW = 256
LARGEST_WINDOW = 100_000_000


def words_of(value: Any) -> str:
    """Return all the words of an error, with names of fields, for finding out what is meant.

    JSON within texts is read, too. What quotes the request is left out.
    """
    return " ".join(_words(value, MAX_DEPTH))[:MAX_WORDS]


def _words(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        inner = _json_in(value) if depth else None
        yield from [value.replace("\\", "")] if inner is None else _words(inner, depth - 1)
    elif isinstance(value, dict) and depth:
        for key, each in value.items():
            if key.lower() not in _NOT_WORDS:
                yield from _words(each, depth - 1)
    elif isinstance(value, list) and depth:
        if all(isinstance(each, str | int) for each in value):  # where something is: a path
            yield ".".join(map(str, value))
        else:
            for each in value:
                yield from _words(each, depth - 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def _json_in(text: str) -> Any:
    """Return the object or list that a text ends in, or None."""
    starts = [at for at in (text.find("{"), text.find("[{")) if at >= 0]
    if not starts or text.rstrip()[-1:] not in ("}", "]", "'", '"', ")"):
        return None
    begin = min(starts)
    try:
        value, _ = json.JSONDecoder().raw_decode(text, begin)
    except (ValueError, RecursionError):
        return None
    return [text[:begin], value] if value else None


def detail_of(error: Any, depth: int = MAX_DEPTH) -> str:
    """Return the text of an error for people: its message, of whatever shape."""
    if isinstance(error, str):
        return error
    if isinstance(error, list) and error and depth:
        return "; ".join(filter(None, (detail_of(each, depth - 1) for each in error[:3])))
    if not isinstance(error, dict) or not depth:
        return ""
    message = _message_of(error, depth)
    if message.strip().rstrip(".").lower() in ("", _GENERIC):
        metadata = error.get("metadata")
        raw = metadata.get("raw") if isinstance(metadata, dict) else None
        more = detail_of(raw, depth - 1)
        message = f"{message}: {more}" if message and more else more or message
    where = error.get("loc")
    if isinstance(where, list) and message:
        message = f"{'.'.join(map(str, where))}: {message}"
    return message


def _message_of(error: dict[str, Any], depth: int) -> str:
    for key in (*_TEXT_KEYS, *_MORE_TEXT_KEYS):
        value = error.get(key)
        if not value:
            continue
        found = detail_of(value, depth - 1)
        if found:
            return found
        if key in _TEXT_KEYS:
            return str(value)
    return ""


def says_too_long(words: str) -> bool:
    """Say whether the request did not fit the model's context window."""
    return bool(_TOO_LONG.search(words)) and not _OTHER_LIMIT.search(words)


def window_in(words: str) -> int | None:
    """Return the window in tokens that such words name, or None."""
    for match in _WINDOW.finditer(words):
        window = int(match[1].replace(",", "").replace("_", ""))
        if SMALLEST_WINDOW <= window <= LARGEST_WINDOW:
            return window
    return None
