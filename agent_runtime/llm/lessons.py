"""What a provider's refusal of a request teaches: what to leave out or write otherwise.

Each rule answers a kind of refusal that is documented in public, whatever the exact words. A rule
that finds nothing new says so, and the refusal stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence

from agent_runtime.adaptation import NOTHING, SHORTEST_DESCRIPTION, Adaptation, Shape
from agent_runtime.llm.tool_schemas import TYPE_LISTS, keywords_in
from agent_runtime.messages import Message, Tool
from agent_runtime.ports import ModelRequest

REFUSED = frozenset((400, 422))
# A chat template that breaks (llama.cpp), a route without a parameter (OpenRouter): these teach
# of parameters and of the shape of messages alone.
BROKE = frozenset((404, 405, 500, 501))

PARAMETERS = ("stream_options", "tool_choice", "cache_control")
_ESSENTIAL = frozenset(
    ("role", "content", "tool_calls", "id", "type", "function", "name", "arguments")
)
_REASONING = ("reasoning_details", "reasoning_content", "reasoning", "thinking_blocks")

_NO_STREAM = re.compile(
    r"stream(?:ing)?\W{0,3}(?: is| mode is)? (?:not|un)\s?supported"
    r"|does not support (?:stream|true with)",
    re.IGNORECASE,
)
_NOT_TAKEN = re.compile(
    r"unsupported|not supported|not permitted|not allowed|extra|unknown|unexpected|unrecogni[sz]ed"
    r"|cannot find field|additional propert|not expected|no such (?:field|property)|forbidden",
    re.IGNORECASE,
)
_MISSING = re.compile(
    r"must be (?:passed|included|provided|present|sent)|is required|\bmissing\b|required property",
    re.IGNORECASE,
)
_BAD_SIGNATURE = re.compile(
    r"(?:invalid(?!_arg)|corrupted|expired)[^.]{0,60}"
    r"(?:signature|encrypted[ _]content|thinking|reasoning)"
    r"|(?:signature|encrypted[ _]content)[^.]{0,60}(?:not valid|invalid(?!_arg)|corrupt|verif)",
    re.IGNORECASE,
)


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE | re.DOTALL)


_SHAPES = {
    Shape.SHORT_IDS: _any(
        r"tool call id\b.{0,120}length of 9",
        r"tool_calls?\W.{0,30}\bid\b.{0,60}(?:too long|pattern|maximum)",
    ),
    Shape.TOOL_NAMES: _any(
        r"function_response\.name", r"role.{0,5}tool.{0,60}name.{0,20}(?:required|empty|missing)"
    ),
    Shape.ALTERNATE: _any(
        r"roles? must alternate",
        r"must alternate between",
        r"unexpected role '?(?:user|tool)",
        r"consecutive (?:user|messages)",
    ),
    Shape.SYSTEM_AS_USER: _any(
        r"system (?:role|message|prompt|instruction)s?\W{1,4}(?:is |are )?not (?:supp|allow|enab)",
        r"(?:developer|system) instruction\W{1,4}(?:is )?not enabled",
    ),
    Shape.TEXT_CONTENT: _any(
        r"content type: ?<?nil",
        r"content.{0,60}(?:got|found|was|is|be) null",
        r"content.{0,60}(?:should be|must be|expected|expects?) an? (?:valid )?string",
        r"missing field `?content",
        r"content.{0,40}(?:array|list)s? (?:is |are )?not (?:supported|allowed)",
    ),
}
_LONG_DESCRIPTION = re.compile(
    r"description\W[^.]{0,60}(?:too long|maximum|longer|exceed)[^0-9]{0,60}(\d{2,5})", re.IGNORECASE
)
_TYPE_LIST = re.compile(
    r"cannot start list|not repeating|type\W{0,4}(?:must|should) be an? (?:string|single)"
    r"|type.{0,40}(?:array|list)s? (?:is |are )?not|multiple types",
    re.IGNORECASE,
)
_ABOUT_TOOLS = re.compile(r"tool|function|schema|parameters|declaration", re.IGNORECASE)
_PLACE = re.compile(r"(?<![A-Za-z])(?:properties|defs)[.\[/'\", ]+[\w$-]+['\"\]]*", re.IGNORECASE)
_DECLARATION = re.compile(r"function_?declarations\W{1,3}(\d{1,4})\b", re.IGNORECASE)
_INDEX = re.compile(r"\btools\W{1,3}(\d{1,4})\b")

Rule = Callable[[str, ModelRequest, Adaptation], Adaptation]


def learn(
    words: str, status: int, request: ModelRequest, adaptation: Adaptation
) -> Adaptation | None:
    """Return what is to be adapted from now on, besides what is; None where nothing new is taught.

    `words` are all that the provider said with `status`, `adaptation` is the one that it refused.
    """
    rules = _RULES if status in REFUSED else _RULES[:2] if status in BROKE else ()
    for rule in rules:
        learned = rule(words, request, adaptation)
        if adaptation | learned != adaptation:
            return learned
    return None


def _parameters(words: str, request: ModelRequest, adaptation: Adaptation) -> Adaptation:
    named = {name for name in PARAMETERS if re.search(rf"\b{name}\b", words)}
    if _NO_STREAM.search(words):
        named.add("stream")
    if not request.tools_disabled:
        named.discard("tool_choice")
    return Adaptation(parameters=frozenset(named))


def _shapes(words: str, request: ModelRequest, adaptation: Adaptation) -> Adaptation:
    found = (shape for shape, pattern in _SHAPES.items() if pattern.search(words))
    return Adaptation(shapes=frozenset(found))


def _fields(words: str, request: ModelRequest, adaptation: Adaptation) -> Adaptation:
    """Leave out what the assistant's messages hold and the words name as not taken."""
    echoed = _fields_of(request.messages)
    named = {name for name in echoed if re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", words)}
    if named and _NOT_TAKEN.search(words) and not _MISSING.search(words):
        return Adaptation(fields=frozenset(named))
    if _BAD_SIGNATURE.search(words) and not _MISSING.search(
        words
    ):  # of thoughts that another provider sealed
        return Adaptation(fields=frozenset(echoed.intersection(_REASONING)))
    return NOTHING


def _fields_of(messages: Sequence[Message]) -> set[str]:
    found: set[str] = set()
    for message in messages:
        if not message.is_assistant:
            continue
        body = json.loads(message.wire)
        found.update(body)
        for call in body.get("tool_calls") or ():
            found.update(call, call["function"])
    return found - _ESSENTIAL


def _description(words: str, request: ModelRequest, adaptation: Adaptation) -> Adaptation:
    match = _LONG_DESCRIPTION.search(words)
    limit = int(match[1]) if match else 0
    return Adaptation(longest_description=limit) if limit >= SHORTEST_DESCRIPTION else NOTHING


def _keywords(words: str, request: ModelRequest, adaptation: Adaptation) -> Adaptation:
    """Take the keywords out of all tools that the words name, other than as a property's name."""
    if not _ABOUT_TOOLS.search(words):
        return NOTHING
    text = _PLACE.sub(" ", words)
    used = set().union(*(keywords_in(tool.schema) for tool in request.tools))
    named = {name for name in used if name != TYPE_LISTS and _names(text, name)}
    if TYPE_LISTS in used and re.search(r"\btype\b", text) and _TYPE_LIST.search(text):
        named.add(TYPE_LISTS)
    return Adaptation(keywords=frozenset(named) - adaptation.keywords)


def _names(text: str, keyword: str) -> bool:
    """Say whether a text names the keyword: in quotes, at the end of a path, or as not taken."""
    word = re.escape(keyword)
    return bool(
        re.search(rf"['\"`]{word}['\"`]", text)
        or re.search(rf"[.\]/]{word}(?=[\s:,.\[;)]|$)", text)
        or re.search(
            rf"(?<![\w$]){word}(?![\w$])[^.]{{0,30}}(?:not (?:supported|permitted|allowed|yet)"
            r"|unsupported|should not be set|only allowed)"
            rf"|(?:unsupported|unknown|unexpected|disallowed)[^.]{{0,40}}(?<![\w$]){word}(?![\w$])",
            text,
            re.IGNORECASE,
        )
    )


def _tools(words: str, request: ModelRequest, adaptation: Adaptation) -> Adaptation:
    """Leave out the tools of servers that the words name, by their names or their places."""
    if not _ABOUT_TOOLS.search(words):
        return NOTHING
    sent = [tool for tool in request.tools if tool.name not in adaptation.tools]
    named = [tool for tool in sent if re.search(rf"(?<![\w-]){tool.name}(?![\w-])", words)]
    if not named:
        named = _at(sent, _DECLARATION.findall(words) or _INDEX.findall(words))
    if any(not tool.server for tool in named):  # ours: it is not the tool that is wrong
        return NOTHING
    return Adaptation(tools=frozenset(tool.name for tool in named))


def _at(tools: Sequence[Tool], places: Iterable[str]) -> list[Tool]:
    return [tools[int(place)] for place in places if int(place) < len(tools)]


_RULES: tuple[Rule, ...] = (_parameters, _shapes, _fields, _description, _keywords, _tools)
