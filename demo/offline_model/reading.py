"""How the offline model reads a request: messages, tools, words, days."""

from __future__ import annotations

import contextlib
import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

_MONTHS = "january february march april may june july august september october november december"
MONTHS = tuple(_MONTHS.split())
_STOP_WORDS = (
    "a all an and any are as at be by do each end every field find first for from get has have "
    "how i id if in is it its last list make me my no not of on or our please report run so some "
    "such tell than that the them then these they this those to tool us was we week weekly what "
    "when which who with you your"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())
UNUSABLE = re.compile(
    r"(\[[^\]]*\berror\b|not run\b|not accepted|there is no tool|the arguments )", re.IGNORECASE
)


def words_of(text: str) -> list[str]:
    """Return the words of a text in order, lower case, each also without a plural's end."""
    found: dict[str, None] = {}
    for word in re.findall(r"[a-z]{2,}", text.lower()):
        singular = word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s")
        for each in (word, singular):
            if each not in STOP_WORDS:
                found.setdefault(each)
    return list(found)


@dataclass(frozen=True)
class Days:
    """A period of whole days, both ends included."""

    first: datetime.date
    last: datetime.date


@dataclass(frozen=True)
class ToolSpec:
    """A tool as it was offered."""

    name: str
    description: str
    schema: Mapping[str, Any]

    @property
    def short_name(self) -> str:
        return self.name.rpartition("__")[2]

    @property
    def properties(self) -> Mapping[str, Any]:
        found = self.schema.get("properties")
        return found if isinstance(found, dict) else {}

    @property
    def required(self) -> Sequence[str]:
        found = self.schema.get("required")
        return found if isinstance(found, list) else []

    def options(self, name: str) -> list[str]:
        """Return the strings that a parameter may be, where its schema lists them."""
        for part in self._variants(self.properties.get(name)):
            values = part.get("enum")
            if isinstance(values, list):
                return [each for each in values if isinstance(each, str)]
        return []

    def type_of(self, name: str) -> str:
        """Return the first type of a parameter besides null."""
        types = [part.get("type") for part in self._variants(self.properties.get(name))]
        return next((each for each in types if isinstance(each, str) and each != "null"), "")

    def maximum(self, name: str) -> int | None:
        """Return the largest value of a number, by its schema or by the description."""
        for part in self._variants(self.properties.get(name)):
            if isinstance(part.get("maximum"), int):
                return int(part["maximum"])
        said = re.search(rf"{re.escape(name)}\W{{1,4}}\(?up to (\d{{1,4}})", self.description)
        return int(said[1]) if said else None

    def _variants(self, part: Any, depth: int = 3) -> list[Mapping[str, Any]]:
        if not isinstance(part, dict) or depth < 0:
            return []
        name = str(part.get("$ref", "")).rpartition("/")[2]
        defined = self.schema.get("$defs")
        target = defined.get(name) if name and isinstance(defined, dict) else None
        others = [*(part.get("anyOf") or ()), *(part.get("oneOf") or ()), target]
        return [part, *(v for each in others for v in self._variants(each, depth - 1))]


@dataclass(frozen=True)
class Outcome:
    """A tool call that was made, and what came back; `data` is None where it is no JSON."""

    name: str
    arguments: Mapping[str, Any]
    text: str
    data: Any
    failed: bool


@dataclass
class Conversation:
    """One request, read. `may_call` is False when the answer has to be in words."""

    system: str
    orders: list[str]
    tools: dict[str, ToolSpec]
    outcomes: list[Outcome] = field(default_factory=list)
    may_call: bool = True

    @cached_property
    def task(self) -> str:
        """The first message of the user, which is the task."""
        return self.orders[0] if self.orders else ""

    @cached_property
    def ordered_skills(self) -> list[str]:
        """The ids that a message orders to load."""
        pattern = r"\bload_skill\b[^.\n]{0,80}?\bid\s*[:=]?\s*[\"'`]?([\w-]+)"
        return list(dict.fromkeys(re.findall(pattern, "\n".join(self.orders))))

    @cached_property
    def guidance(self) -> str:
        """The task and all that was loaded of skills."""
        loaded = [each.text for each in self.outcomes if each.name.endswith(("_skill", "_file"))]
        return "\n".join([*self.orders[:1], *loaded])

    @cached_property
    def words(self) -> list[str]:
        """The words of the task and of the skill, in order."""
        return words_of(self.guidance)

    @cached_property
    def ids_in_task(self) -> list[str]:
        """Ids like T-1001 that the task names."""
        return list(dict.fromkeys(re.findall(r"\b[A-Z]{1,6}-\d{1,8}\b", self.task)))

    @cached_property
    def today(self) -> datetime.date | None:
        """The date that the system prompt gives."""
        said = re.search(r"\b(\d{1,2}) ([A-Z][a-z]+) (\d{4})\b", self.system)
        if said and said[2].lower() in MONTHS:
            with contextlib.suppress(ValueError):
                month = MONTHS.index(said[2].lower()) + 1
                return datetime.date(int(said[3]), month, int(said[1]))
        return None

    @cached_property
    def days(self) -> Days | None:
        """The period that the task names, by whole days that end yesterday."""
        if self.today is None:
            return None
        said = re.search(r"\b(?:last|past) (\d{1,3} )?(day|week|month)s?\b", self.task.lower())
        if said:
            length = int(said[1] or 1) * {"day": 1, "week": 7, "month": 30}[said[2]]
        elif "yesterday" in self.task.lower():
            length = 1
        else:
            return None
        day = datetime.timedelta(days=1)
        return Days(self.today - length * day, self.today - day)

    def succeeded(self, name: str) -> list[Outcome]:
        """Return what this tool answered without an error."""
        return [each for each in self.outcomes if each.name == name and not each.failed]

    def words_after(self, name: str) -> list[str]:
        """Return the words, those after the first mention of `name` before the others."""
        _, _, after = self.guidance.partition(name)
        return list(dict.fromkeys([*words_of(after), *self.words]))

    def mentions(self, name: str) -> bool:
        """True when the task or the skill names this tool."""
        return re.search(rf"\b{re.escape(name)}\b", self.guidance) is not None


def read_conversation(body: Mapping[str, Any]) -> Conversation:
    """Return what a request to chat completions says. Raises ValueError when it is malformed."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise ValueError("messages must be a list of objects")
    conversation = Conversation(system="", orders=[], tools=_tools(body.get("tools")))
    conversation.may_call = bool(conversation.tools) and body.get("tool_choice") != "none"
    pending: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for message in messages:
        text = content_text(message.get("content"))
        if message.get("role") in ("system", "developer"):
            conversation.system += text + "\n"
        elif message.get("role") == "user":
            conversation.orders.append(text)
        elif message.get("role") == "assistant":
            pending.update(_asked(message))
        elif message.get("tool_call_id") in pending:
            name, arguments = pending.pop(str(message["tool_call_id"]))
            conversation.outcomes.append(_outcome(name, arguments, text))
    return conversation


def content_text(content: Any) -> str:
    """Return a message's content as text; parts that are no text are passed over."""
    if isinstance(content, list):
        parts = [each.get("text") for each in content if isinstance(each, dict)]
        return "\n".join(each for each in parts if isinstance(each, str))
    return content if isinstance(content, str) else ""


def _tools(offered: Any) -> dict[str, ToolSpec]:
    found = {}
    for each in offered if isinstance(offered, list) else ():
        function = each.get("function") if isinstance(each, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            schema = function.get("parameters")
            found[function["name"]] = ToolSpec(
                name=function["name"],
                description=str(function.get("description") or ""),
                schema=schema if isinstance(schema, dict) else {},
            )
    return found


def _asked(message: Mapping[str, Any]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        arguments = load_json(function.get("arguments") or "{}")
        given = arguments if isinstance(arguments, dict) else {}
        found[str(call.get("id"))] = (str(function.get("name")), given)
    return found


def _outcome(name: str, arguments: Mapping[str, Any], text: str) -> Outcome:
    """Read a result; a first line in brackets, which marks it as data, is no part of it."""
    failed = UNUSABLE.match(text.lstrip()) is not None
    body = re.sub(r"\A\s*\[[^\]\n]*\]\n", "", text)
    data = load_json(body)
    if isinstance(data, dict) and data.get("error"):
        failed = True
    return Outcome(name=name, arguments=arguments, text=body.strip(), data=data, failed=failed)


def load_json(text: str) -> Any:
    """Return the value that a JSON text holds, or None."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
