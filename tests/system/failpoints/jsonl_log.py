"""What a play came to, and the comparison of one that was disturbed with one that was not."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tasks_app.models import AgentTask, ToolCall
from tests.system.failpoints.scenario import Play
from tests.system.faults.harness import numbers_of

UNKNOWN = "unknown_outcome"


@dataclass
class Books:
    """The rows and the ledger after the end, without what differs from one run to the next."""

    task: dict[str, Any]
    report: str
    steps: list[tuple[Any, ...]]
    calls: dict[tuple[Any, ...], tuple[str, str | None]]  # where and what, state and result
    repeatable: set[str]  # lines that may be sent twice
    unknown: set[str]  # lines of which nobody knows
    lines: Counter[str]
    keys: dict[str, set[str]]
    requests: list[tuple[int, Any]]
    numbers: list[int]


def books_of(play: Play, task: AgentTask) -> Books:
    """Read the rows; on a thread with a connection."""
    names = ["status", "stop_reason", "run_number", "steps_completed", "attempt", "error"]
    names += ["tool_calls_made", "input_tokens", "waiting_reason", "final_report_produced"]
    rows = ToolCall.objects.select_related("step").order_by("step__index", "index")
    keys: dict[str, set[str]] = {}
    for line, key in play.sent:
        keys.setdefault(line, set()).add(key)
    return Books(
        task={name: getattr(task, name) for name in names},
        report=task.report or "",
        steps=[
            (each.run_number, each.index, each.response, each.request["notes"])
            for each in task.steps.order_by("run_number", "index")
        ],
        calls={
            (row.step.run_number, row.step.index, row.index, row.name, row.arguments): (
                row.state,
                row.result,
            )
            for row in rows
        },
        repeatable={_line(row) for row in rows if row.repeatable},
        unknown={_line(row) for row in rows if row.state == UNKNOWN},
        lines=Counter(line for line, _ in play.sent),
        keys=keys,
        requests=[(turn, messages[1:]) for turn, messages in play.requests],
        numbers=numbers_of(task),
    )


def _line(row: ToolCall) -> str:
    return str(json.loads(row.arguments).get("text", ""))


def compare(now: Books, undisturbed: Books) -> None:
    """Nothing lost, nothing twice; only what was in doubt may differ, and it says so."""
    assert now.task == undisturbed.task
    assert now.steps == undisturbed.steps
    assert now.numbers == list(range(1, len(now.numbers) + 1)), "a number is missing or there twice"
    assert now.calls.keys() == undisturbed.calls.keys()
    for where, outcome in now.calls.items():
        assert outcome[0] == UNKNOWN or outcome == undisturbed.calls[where], where
    assert not now.unknown & now.repeatable, "doubted although it can be sent again"
    assert now.unknown or now.report == undisturbed.report
    assert ("outcome" in now.report) is bool(now.unknown), "the report hides a doubt"
    _compare_ledgers(now, undisturbed)
    _compare_requests(now, undisturbed)


def _compare_ledgers(now: Books, undisturbed: Books) -> None:
    assert undisturbed.lines.keys() - now.lines.keys() <= now.unknown, "lost"
    assert now.lines.keys() <= undisturbed.lines.keys(), "invented"
    for line, times in now.lines.items():
        assert times == 1 or line in now.repeatable, f"{line} was done {times} times"
        assert len(now.keys[line]) == 1, f"{line} went out with two keys"


def _compare_requests(now: Books, undisturbed: Books) -> None:
    """At most one turn is paid for twice, and what the model is told does not depend on who asks.

    Doubts aside: they are told.
    """
    extra = Counter(turn for turn, _ in now.requests)
    extra.subtract(turn for turn, _ in undisturbed.requests)
    assert sum(extra.values()) <= 1
    assert min(extra.values(), default=0) >= 0
    if not now.unknown:
        assert [each for each in now.requests if each not in undisturbed.requests] == []
