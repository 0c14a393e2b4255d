"""What the offline model does next: a fixed policy, not a language model.

It is a pure function of the request. Every figure in its report is computed from what the
tools returned in this conversation.

1. Load the skill that a message orders to load, and the files that it names.
2. Count: call the counting tools that the words of the task and the skill point to, for each
   field that these words name.
3. List: call the listing tools, for the most frequent values of the first field, or once.
4. Read: fetch two examples of each list whole.
5. Report, by submit_report where it is offered, else in words.

Tools whose names sound like writing are never called. A call is never repeated, so a tool
that fails is reported and passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from demo.offline_model.reading import Conversation, Days, Outcome, ToolSpec, words_of
from demo.offline_model.report import biggest, counts_in, records_in, write_report

LOAD_SKILL = "load_skill"
READ_SKILL_FILE = "read_skill_file"
SUBMIT_REPORT = "submit_report"
BUILT_IN = {LOAD_SKILL, READ_SKILL_FILE, SUBMIT_REPORT}

COUNTING = {"count", "aggregate", "group", "stats", "statistics", "histogram", "summarize"}
LISTING = {"search", "find", "list", "query", "browse", "filter"}
FETCHING = {"get", "read", "fetch", "show", "describe", "lookup", "view"}
_WRITING = (
    "add append archive approve assign book buy cancel change clear close create delete deploy "
    "disable drop edit enable execute import insert invite kill merge move notify pay post "
    "publish purge put refund reject remove rename replace reply reset run save send set start "
    "stop submit transfer truncate update upload wipe write"
)
WRITING = frozenset(_WRITING.split())
SINCE = {"since", "from", "start", "after", "from_date", "start_date", "date_from", "created_after"}
UNTIL = {"until", "to", "end", "before", "to_date", "end_date", "date_to", "created_before"}
FIELD_LIKE = {"field", "by", "group_by", "column", "attribute", "dimension", "key"}
LIMIT_LIKE = {"limit", "size", "page_size", "max_results", "count", "top"}

MAX_CALLS = 8  # in one response
MAX_FIELDS = 5
DRILLED = 3  # most frequent values that are looked into
EXAMPLES = 2  # records of each list that are read whole
DEFAULT_LIMIT = 100

Arguments = dict[str, object]


@dataclass(frozen=True)
class Wanted:
    """A tool call that the policy wants."""

    name: str
    arguments: Arguments


@dataclass(frozen=True)
class Decision:
    """What to answer: calls, or else the text."""

    calls: Sequence[Wanted] = ()
    text: str = ""


def decide(conversation: Conversation) -> Decision:
    """Return the next answer."""
    if conversation.may_call:
        for stage in (_skills, _skill_files, _counts, _lists, _examples):
            wanted: list[Wanted] = []
            for each in stage(conversation):
                if each not in wanted and _is_new(conversation, each):
                    wanted.append(each)
            if wanted:
                return Decision(calls=wanted[:MAX_CALLS])
    report, complete = write_report(conversation)
    if conversation.may_call and SUBMIT_REPORT in conversation.tools:
        outcome = "completed" if complete else "incomplete"
        call = Wanted(SUBMIT_REPORT, {"outcome": outcome, "report": report})
        if not any(each.name == SUBMIT_REPORT for each in conversation.outcomes):
            return Decision(calls=[call])
    return Decision(text=report)


def _is_new(conversation: Conversation, wanted: Wanted) -> bool:
    return not any(
        each.name == wanted.name and each.arguments == wanted.arguments
        for each in conversation.outcomes
    )


def _skills(conversation: Conversation) -> Iterator[Wanted]:
    if LOAD_SKILL in conversation.tools:
        for skill_id in conversation.ordered_skills:
            yield Wanted(LOAD_SKILL, {"id": skill_id})


def _skill_files(conversation: Conversation) -> Iterator[Wanted]:
    if READ_SKILL_FILE not in conversation.tools:
        return
    for each in conversation.succeeded(LOAD_SKILL):
        for path in re.findall(r"`([\w./-]+\.(?:md|txt|csv|json))`", each.text):
            yield Wanted(READ_SKILL_FILE, {"id": each.arguments.get("id"), "path": path})


def _counts(conversation: Conversation) -> Iterator[Wanted]:
    days = conversation.days
    for tool in _pointed_to(conversation, COUNTING):
        field = next((name for name in tool.properties if name in FIELD_LIKE), None)
        values = _fields(tool, field, conversation) if field else [None]
        for value in values[:MAX_FIELDS]:
            given: Arguments = {field: value} if field and value else {}
            arguments = _filled(tool, given, days)
            if arguments is not None:
                yield Wanted(tool.name, arguments)


def _fields(tool: ToolSpec, field: str, conversation: Conversation) -> list[str]:
    """Return the values for a parameter that names a field: those named, in their order.

    Where the skill names the tool, what comes after that counts first.
    """
    words = conversation.words_after(tool.short_name)
    options = tool.options(field) or [
        word for word in words_of(tool.description) if word in conversation.words
    ]
    named = sorted(
        (each for each in options if each.lower() in words),
        key=lambda each: words.index(each.lower()),
    )
    return named or list(options)


def _lists(conversation: Conversation) -> Iterator[Wanted]:
    for tool in _pointed_to(conversation, LISTING):
        drilled = [
            {name: value}
            for name, counts in _counted(conversation)[:1]
            if name in tool.properties
            for value in biggest(counts, DRILLED)
        ]
        named = [
            {name: option}
            for name in tool.properties
            for option in tool.options(name)
            if option.lower() in conversation.words and name not in FIELD_LIKE
        ]
        for given in [*drilled, *named] or [{}]:
            arguments = _filled(tool, dict(given), conversation.days)
            if arguments is not None:
                yield Wanted(tool.name, arguments)


def _counted(conversation: Conversation) -> list[tuple[str, dict[str, int]]]:
    """Return each field that was counted and its counts."""
    found = []
    for each in conversation.outcomes:
        counts = None if each.failed or each.name in BUILT_IN else counts_in(each.data)
        if counts:
            field = next((str(v) for k, v in each.arguments.items() if k in FIELD_LIKE), "")
            found.append((field, counts))
    return found


def _examples(conversation: Conversation) -> Iterator[Wanted]:
    for tool in _pointed_to(conversation, FETCHING):
        if len(tool.required) != 1:
            continue
        (name,) = tool.required
        for value in _example_ids(name, tool, conversation):
            yield Wanted(tool.name, {name: value})


def _example_ids(name: str, tool: ToolSpec, conversation: Conversation) -> Iterator[object]:
    yield from (each for each in conversation.ids_in_task if tool.type_of(name) != "integer")
    for each in _listed(conversation):
        found = [record.get(name, record.get("id")) for record in records_in(each.data)]
        yield from [value for value in found if isinstance(value, str | int)][:EXAMPLES]


def _listed(conversation: Conversation) -> list[Outcome]:
    return [
        each
        for each in conversation.outcomes
        if not each.failed and each.name not in BUILT_IN and records_in(each.data)
    ]


def _pointed_to(conversation: Conversation, verbs: set[str]) -> Iterator[ToolSpec]:
    """Yield the tools of this kind that only read and share a word with the task or skill."""
    for tool in conversation.tools.values():
        name = set(re.findall(r"[a-z]+", tool.name.lower().replace("_", " ")))
        if tool.name in BUILT_IN or name & WRITING or not name & verbs:
            continue
        subject = set(words_of(tool.name.replace("_", " "))) - COUNTING - LISTING - FETCHING
        if subject & set(conversation.words) or conversation.mentions(tool.short_name):
            yield tool


def _filled(tool: ToolSpec, given: Arguments, days: Days | None) -> Arguments | None:
    """Return the arguments with days and limit put in, or None when a required one is unknown."""
    arguments = dict(given)
    for name in tool.properties:
        if days and name in SINCE:
            arguments[name] = days.first.isoformat()
        elif days and name in UNTIL:
            arguments[name] = days.last.isoformat()
        elif name in LIMIT_LIKE and tool.type_of(name) == "integer":
            arguments[name] = tool.maximum(name) or DEFAULT_LIMIT
    for name in set(tool.required) - set(arguments):
        options = tool.options(name)
        if not options:
            return None
        arguments[name] = options[0]
    return arguments


def encoded(arguments: Arguments) -> str:
    """Return the arguments as the JSON text of a tool call."""
    return json.dumps(arguments, ensure_ascii=False)
