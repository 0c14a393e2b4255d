"""The ledger: what the calls that left the model's sight came to, written by code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from agent_runtime.context.facts import CallFact
from agent_runtime.messages import CallState

WHOLE_LINES = 200  # the latest effects that have a line of their own
HEADING = "These have happened. Do not do them again."


def ledger_of(facts: Sequence[CallFact], *, waiting: Iterable[str] = (), room: int) -> str:
    """Return the ledger of calls that have ended, in at most about `room` bytes.

    1. Each call that cannot be repeated has a line: tool, arguments, state, time, handle.
    2. Beyond the latest WHOLE_LINES, or the room, older ones are grouped by tool and state.
    3. Repeatable calls are counts; what failed twice or more is named with its arguments.

    `waiting` are lines about calls that wait for a person.
    """
    effects = [fact for fact in facts if not fact.repeatable and not fact.refused]
    tail = [*_counts(facts), *_failures(facts), *waiting]
    left = room - sum(len(line.encode()) + 1 for line in (HEADING, *tail))
    whole: list[str] = []
    for fact in reversed(effects[-WHOLE_LINES:]):
        line = _line(fact)
        left -= len(line.encode()) + 1
        if left < 0:
            break
        whole.append(line)
    grouped = _grouped(effects[: len(effects) - len(whole)])
    lines = [*grouped, *reversed(whole), *tail]
    return "\n".join((HEADING, *lines)) if lines else ""


def _line(fact: CallFact) -> str:
    when = f", {fact.at}" if fact.at else ""
    return f"- {fact.label} {fact.arguments}: {_state(fact.state)}{when}, {fact.place.handle}"


def _state(state: CallState) -> str:
    return state.value.replace("_", " ")


def _grouped(facts: Sequence[CallFact]) -> list[str]:
    counts = Counter((fact.label, fact.state) for fact in facts)
    return [f"- {label}: {count} {_state(state)}" for (label, state), count in counts.items()]


def _counts(facts: Sequence[CallFact]) -> list[str]:
    counts = Counter(
        fact.label for fact in facts if fact.repeatable and fact.state is CallState.SUCCEEDED
    )
    return [f"- {label}: {count} succeeded (may be repeated)" for label, count in counts.items()]


def _failures(facts: Sequence[CallFact]) -> list[str]:
    counts = Counter(
        (fact.label, fact.arguments)
        for fact in facts
        if fact.state is CallState.FAILED and not fact.refused
    )
    return [
        f"- {label} {arguments}: failed {count} times"
        for (label, arguments), count in counts.items()
        if count > 1
    ]
