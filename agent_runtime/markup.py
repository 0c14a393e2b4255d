"""Tool calls that a model wrote into its text, and its thoughts, told from a report.

A server that does not know a model's own notation for tool calls passes it on as text. Such an
answer is no report: nothing was called. The notations are those of the models that the parsers
of vLLM, SGLang and llama.cpp know. Nothing here runs a call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

MAX_PREAMBLE = 300  # characters of prose before the markup: "I will look that up."
MAX_BLOCKS = 100  # of markup in one text
MAX_LOOKED_AT = 200_000  # characters; a longer text is a report

_THOUGHT = r"(?:seed:)?(?:think|thinking|thoughts?|reasoning|reflection)"
_CLOSED_THOUGHT = re.compile(
    rf"\s*(?:<({_THOUGHT})>.*?</\1>|\[THINK\].*?\[/THINK\]|◁think▷.*?◁/think▷)\s*",
    re.DOTALL | re.IGNORECASE,
)
_OPEN_THOUGHT = re.compile(rf"\s*(?:<{_THOUGHT}>|\[THINK\]|◁think▷)", re.IGNORECASE)

_WORD = r"(?:tool|function|action)[ _▁]?(?:calls?|use|request|code)?(?:[ _▁]section)?"
_TAG_NAME = rf"(?:[\w-]+:|[|｜]DSML[|｜])?(?:{_WORD}|invoke)"
# <tool_call> … </tool_call>, <function=name> … </function>, <minimax:tool_call> …
_XML = rf"<(?P<tag>{_TAG_NAME})\b[^<>]*>.*?</(?P=tag)>"
# <|tool_call_begin|> … <|tool_call_end|>, <｜tool▁calls▁begin｜> …, <|START_ACTION|> …
_MARKS = (
    rf"<[|｜]?(?:start_)?{_WORD}(?:[_▁](?:begin|start))?[|｜]?>"
    rf".*?<(?=[^<>]*(?:/|end|[|｜]>))[|｜]?/?(?:end_)?{_WORD}(?:[_▁]end)?[|｜]?>"
)
_OTHERS = (
    r"<\|tools_prefix\|>.*?<\|tools_suffix\|>"  # Apertus
    r"|\[TOOL_REQUEST\].*?\[END_TOOL_REQUEST\]"  # LM Studio
    r"|<\|channel\|>[^<]*\bto=.*?<\|call\|>"  # gpt-oss
)
_BLOCK = re.compile(rf"{_XML}|{_MARKS}|{_OTHERS}", re.DOTALL | re.IGNORECASE)
# What opens a block that the model, or a stop sequence, left without its end.
_OPENING = re.compile(
    rf"<{_TAG_NAME}\b[^<>]*>|<[|｜]?(?:start_)?{_WORD}[^<>]{{0,30}}>"
    r"|<\|(?:python_tag|python_start|tools_prefix|channel|start)\|>"
    r"|\[/?TOOL_(?:CALLS|REQUEST)\]|\bfunctools\s*(?=\[)",
    re.IGNORECASE,
)
_STRAY = re.compile(r"<[|｜/][^<>\s]{1,60}>|<[^<>\s]{1,60}[|｜]>|\[/?[A-Z_]{3,20}\]|`{3}\w*")
_FENCE = re.compile(r"```[\w-]*\s*\n(.*?)\n?\s*```$", re.DOTALL)
_PYTHONIC = re.compile(
    r"[\s,;\[]*(?:print\()?(?:functions\.|default_api\.)?([\w-]{1,64})"
    r"\((?:[^()'\"]|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\([^()]*\))*\)\)?"
)
_REACT = re.compile(r"^\s*Action:\s*`?([\w.-]{1,64})`?\s*\n+\s*Action Input:", re.MULTILINE)

_NAME_KEYS = ("name", "tool_name", "tool", "function", "function_name", "recipient_name")
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "input", "tool_input", "params", "kwargs")
_LIST_KEYS = ("tool_calls", "tool_uses", "function_call", "tool_call")


def without_thoughts(text: str) -> str:
    """Return the text without the closed blocks of thoughts at its beginning.

    Of a text that is nothing but an unclosed block nothing is left.
    """
    while closed := _CLOSED_THOUGHT.match(text):
        text = text[closed.end() :]
    return "" if _OPEN_THOUGHT.match(text) else text


def is_written_call(text: str, *, offered: Collection[str]) -> bool:
    """Say whether the whole text, a short preamble aside, is a call of an offered tool.

    Prose that quotes markup is none: it goes on after the markup, or begins long before it.
    """
    text = text.strip()
    if len(text) > MAX_LOOKED_AT:
        return False
    named = frozenset(name for name in offered if name in text)
    if not named:
        return False
    return _is_markup(text, named) or any(
        _is_value(_values(part), named) or _is_code(part, named) for part in _parts(text)
    )


def _is_markup(text: str, named: Collection[str]) -> bool:
    """Say whether blocks of markup, one of which names a tool, reach to the end of the text."""
    opening = _OPENING.search(text)
    if opening is None or opening.start() > MAX_PREAMBLE:
        return False
    rest = body = text[opening.start() :]
    for _ in range(MAX_BLOCKS):
        block = _BLOCK.match(rest) or _STRAY.match(rest)
        if block is None:
            break
        rest = rest[block.end() :].lstrip()
    if rest and not (rest[-1] in "}]>)`" and _is_open(rest, named, inside=rest != body)):
        return False
    return any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", body) for name in named)


def _is_open(rest: str, named: Collection[str], *, inside: bool) -> bool:
    """Say whether a block begins here that nothing closes; `inside` one its name is enough."""
    return _OPENING.match(rest.removeprefix("assistant")) is not None or (
        inside and (rest[0] in "{[" or rest.removeprefix("functions.").startswith(tuple(named)))
    )


def _parts(text: str) -> Iterator[str]:
    """Yield the text, what it holds in a fence, and what begins with its first bracket."""
    yield text
    fenced = _FENCE.search(text)
    if fenced and fenced.start() <= MAX_PREAMBLE:
        yield fenced[1].strip()
    bracket = re.search(r"[\[{]", text[: MAX_PREAMBLE + 1])
    if bracket:
        yield text[bracket.start() :]


def _values(text: str) -> list[Any]:
    """Return the JSON values that the text consists of; none where it holds anything else."""
    values, decoder, at = [], json.JSONDecoder(), 0
    try:
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            values.append(value)
            at += len(text) - at - len(text[at:].lstrip(" \t\r\n;,"))
    except (ValueError, RecursionError):
        return []
    return values


def _is_value(value: Any, named: Collection[str]) -> bool:
    """Say whether a JSON value is a call, or a list of calls, in one of the usual shapes."""
    if isinstance(value, list):
        return bool(value) and all(_is_value(each, named) for each in value)
    if not isinstance(value, dict):
        return False
    for key in _LIST_KEYS:
        if key in value:
            return _is_value(value[key], named)
    if isinstance(value.get("function"), dict):
        return _is_value(value["function"], named)
    name = next((value[key] for key in _NAME_KEYS if isinstance(value.get(key), str)), "")
    if "description" in value and "arguments" not in value:
        return False  # a tool described, not called
    has_arguments = any(key in value for key in _ARGUMENT_KEYS)
    return has_arguments and name.removeprefix("functions.") in named


def _is_code(text: str, named: Collection[str]) -> bool:
    """Say whether the text is calls in Python's notation, or one in that of ReAct."""
    react = _REACT.search(text)
    if react and react.start() <= MAX_PREAMBLE:
        return react[1] in named and "Observation:" not in text
    rest = text
    while (call := _PYTHONIC.match(rest)) and call[1] in named:
        rest = rest[call.end() :]
    return rest is not text and not rest.strip(" \t\r\n,;]")
