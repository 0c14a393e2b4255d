"""What the offline model reports: counts and groups of what the tools returned, nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from demo.offline_model.reading import Conversation, Days, Outcome

NOTICE = (
    "[Written by the offline model: a fixed policy, not a language model. Every figure is "
    "computed from what the tools returned.]"
)
BUILT_IN = ("load_skill", "read_skill_file", "read_result", "submit_report")
TITLES = ("subject", "title", "summary", "name", "headline")
DATES = ("created_at", "created", "date", "opened_at", "time", "timestamp", "day")
_CHANGES = (
    "add append archive assign delete edit merge purge refund remove rename replace upload wipe"
)
CHANGES = frozenset(_CHANGES.split())  # words of a task that ask for more than reading
NOT_ARGUMENTS_TO_TELL = ("limit", "size", "page_size", "max_results", "count", "top")
MAX_VALUES = 10  # of one group that are told
MAX_GROUP_VALUES = 8  # a field with more different values is no group
MAX_TITLES = 5
MAX_ERROR = 200
MAX_VALUE = 120

Record = Mapping[str, Any]


def records_in(data: Any, depth: int = 4) -> list[Record]:
    """Return the longest list of objects anywhere in a result."""
    best: list[Record] = []
    if depth and isinstance(data, list):
        records: list[Record] = [each for each in data if isinstance(each, dict)]
        best = records if records and len(records) == len(data) else []
    children = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    if not best and depth:
        for each in children:
            best = max(best, records_in(each, depth - 1), key=len)
    return best


def counts_in(data: Any, depth: int = 3) -> dict[str, int]:
    """Return the first object anywhere in a result whose values are all whole numbers."""
    if not isinstance(data, dict) or not data or not depth:
        return {}
    if all(isinstance(each, int) and not isinstance(each, bool) for each in data.values()):
        return {str(key): value for key, value in data.items()}
    for each in data.values():
        found = counts_in(each, depth - 1)
        if found:
            return found
    return {}


def biggest(counts: Mapping[str, int], most: int) -> list[str]:
    """Return the most frequent values; equal ones by name."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [value for value, count in ordered[:most] if count > 0]


def write_report(conversation: Conversation) -> tuple[str, bool]:
    """Return the report, and whether there was anything to report on."""
    outcomes = [each for each in conversation.outcomes if each.name not in BUILT_IN]
    useful = [each for each in outcomes if not each.failed]
    parts = [NOTICE, *_opening(conversation)]
    parts += _recurring(useful, conversation.days)
    for each in useful:
        parts.append(_told(each, conversation.days))
    if not useful:
        parts.append(
            "No tool returned anything to report on: there is none that reads and that the "
            "words of the task point to, or none answered."
        )
    changes = sorted(CHANGES & set(re.findall(r"[a-z]+", conversation.task.lower())))
    if changes:
        parts.append(
            f"Not done: nothing was changed ({', '.join(changes)}); this policy only reads."
        )
    failures = [each for each in conversation.outcomes if each.failed]
    if failures:
        parts.append("Not done:\n" + "\n".join(_failure(each) for each in failures))
    complete = bool(useful) and not changes and _skills_loaded(conversation)
    return "\n\n".join(parts), complete


def _skills_loaded(conversation: Conversation) -> bool:
    loaded = {each.arguments.get("id") for each in conversation.succeeded("load_skill")}
    return set(conversation.ordered_skills) <= loaded


def _opening(conversation: Conversation) -> list[str]:
    task = conversation.task.split("\n\n")[-1].strip()
    lines = [f"Task: {task[:300]}"]
    if conversation.days:
        lines.append(f"Days: {conversation.days.first} to {conversation.days.last}, both included.")
    loaded = conversation.succeeded("load_skill")
    for each in loaded:
        heading = re.search(r"^#+ (.+)$", each.text, re.MULTILINE)
        lines.append(f"Skill: {heading[1] if heading else each.arguments.get('id')}.")
    return ["\n".join(lines)]


def _recurring(outcomes: list[Outcome], days: Days | None) -> list[str]:
    """Tell which titles come back among all records that were listed, each counted once."""
    records: dict[str, Record] = {}
    for outcome in outcomes:
        for record in _within(records_in(outcome.data), days):
            records.setdefault(str(record.get("id", record)), record)
    lines = [each for each in _titles(list(records.values())) if ": 1 (" not in each]
    if not lines:
        return []
    return [f"What recurs, among {len(records)} different ones listed:\n" + "\n".join(lines)]


def _told(outcome: Outcome, days: Days | None) -> str:
    records = records_in(outcome.data)
    if records and not _is_one(outcome.data):
        return _told_records(outcome, records, days)
    counts = counts_in(outcome.data)
    if counts:
        return _told_counts(outcome, counts)
    if isinstance(outcome.data, dict):
        return _told_one(outcome, outcome.data)
    return f"{_source(outcome)}: {outcome.text[:300]}"


def _is_one(data: Any) -> bool:
    """True for a record that holds lists of its own, as opposed to a list of records."""
    return isinstance(data, dict) and any(each in data for each in TITLES)


def _told_counts(outcome: Outcome, counts: Mapping[str, int]) -> str:
    lines = [f"- {value}: {counts[value]}" for value in biggest(counts, MAX_VALUES)]
    if len(counts) > MAX_VALUES:
        lines.append(f"- and {len(counts) - MAX_VALUES} more")
    return f"{_source(outcome)}: {sum(counts.values())} in all\n" + "\n".join(lines)


def _told_records(outcome: Outcome, listed: list[Record], days: Days | None) -> str:
    records = _within(listed, days)
    total = outcome.data.get("total") if isinstance(outcome.data, dict) else None
    known = f"{total} in all, " if isinstance(total, int) and total != len(records) else ""
    lines = [f"{_source(outcome)}: {known}{len(records)} listed"]
    lines += _titles(records)
    for name in _group_fields(records, outcome):
        groups = Counter(str(record.get(name)) for record in records)
        told = ", ".join(f"{value} {groups[value]}" for value in biggest(groups, MAX_VALUES))
        lines.append(f"- by {name}: {told}")
    return "\n".join(lines)


def _titles(records: list[Record]) -> list[str]:
    title = next((each for each in TITLES if any(each in record for record in records)), None)
    if title is None:
        return []
    repeated = Counter(str(record.get(title)) for record in records)
    return [
        f"- {value!r}: {repeated[value]} ({', '.join(_ids(records, title, value))})"
        for value in biggest(repeated, MAX_TITLES)
    ]


def _within(records: list[Record], days: Days | None) -> list[Record]:
    """Return the records of the days, where they carry a date; a tool may not filter by it."""
    name = next((each for each in DATES if records and each in records[0]), None)
    if days is None or name is None:
        return records
    first, last = days.first.isoformat(), days.last.isoformat()
    return [each for each in records if first <= str(each.get(name))[:10] <= last]


def _ids(records: list[Record], title: str, value: str) -> list[str]:
    found = [str(record.get("id", "?")) for record in records if str(record.get(title)) == value]
    return [*found[:3], "…"] if len(found) > 3 else found


def _group_fields(records: list[Record], outcome: Outcome) -> list[str]:
    names = [name for name in (records[0] if records else ()) if name not in outcome.arguments]
    return [
        name
        for name in names
        if name not in TITLES
        and name not in DATES
        and 1 < len({str(record.get(name)) for record in records}) <= MAX_GROUP_VALUES
        and len({str(record.get(name)) for record in records}) < len(records)
    ]


def _told_one(outcome: Outcome, record: Record) -> str:
    told = [
        f"{name}: {value if len(str(value)) <= MAX_VALUE else str(value)[:MAX_VALUE] + '…'}"
        for name, value in record.items()
        if isinstance(value, str | int | float) and outcome.arguments.get(name) != value
    ]
    return f"{_source(outcome)}: " + "; ".join(told[:MAX_VALUES])


def _failure(outcome: Outcome) -> str:
    return f"- {_source(outcome)}: {' '.join(outcome.text.split())[:MAX_ERROR]}"


def _source(outcome: Outcome) -> str:
    """Name the call that figures come from."""
    told = [
        f"{name} {value}"
        for name, value in outcome.arguments.items()
        if name not in NOT_ARGUMENTS_TO_TELL
    ]
    return f"{outcome.name} ({', '.join(told)})" if told else outcome.name
