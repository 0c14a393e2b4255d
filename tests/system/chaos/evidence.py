"""What a chaos run left behind: the rows, and the two books."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks_app.models import AgentTask, Event, Step, ToolCall, Worker
from tests.system.chaos.jsonl_log import read_book
from tests.system.chaos.scenario import Script, name_of, number_in

Line = Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class TaskEvidence:
    """All that is known of one task. Lists are in the order of their numbers or times."""

    script: Script
    task: AgentTask
    steps: list[Step]
    calls: dict[int, list[ToolCall]]  # by the step's index
    events: list[Event]
    asked: list[Line] = field(default_factory=list)
    arrived: dict[str, list[Line]] = field(default_factory=dict)  # at the ledger, by label


@dataclass(slots=True, kw_only=True)
class Evidence:
    """All that is known of a run."""

    tasks: list[TaskEvidence]
    missing: list[str]  # names of submitted tasks without a row, or with more than one
    workers: dict[Any, Worker]
    asked: list[Line]
    answered: dict[str, float]  # when each whole answer was written, by its id
    arrived: list[Line]


def gather(*, scripts: Sequence[Script], model_book: Path, ledger_book: Path) -> Evidence:
    """Read everything once, after the run has come to rest."""
    model = read_book(model_book)
    asked = [line for line in model if line["kind"] == "asked"]
    arrived = read_book(ledger_book)
    by_name: dict[str, list[AgentTask]] = defaultdict(list)
    for task in AgentTask.objects.all():
        by_name[name_of(number_in(task.prompt))].append(task)
    tasks = {
        script.name: _of_task(script, by_name[script.name][0])
        for script in scripts
        if len(by_name[script.name]) == 1
    }
    for line in asked:
        if line["task"] in tasks:
            tasks[line["task"]].asked.append(line)
    for line in arrived:
        found = tasks.get(line["label"].partition("/")[0])
        if found is not None:
            found.arrived.setdefault(line["label"], []).append(line)
    return Evidence(
        tasks=list(tasks.values()),
        missing=[script.name for script in scripts if script.name not in tasks],
        workers={worker.id: worker for worker in Worker.objects.all()},
        asked=asked,
        answered={line["id"]: line["at"] for line in model if line["kind"] == "answered"},
        arrived=arrived,
    )


def _of_task(script: Script, task: AgentTask) -> TaskEvidence:
    steps = list(task.steps.order_by("run_number", "index").prefetch_related("tool_calls"))
    return TaskEvidence(
        script=script,
        task=task,
        steps=steps,
        calls={
            step.index: sorted(step.tool_calls.all(), key=lambda call: call.index) for step in steps
        },
        events=list(task.events.order_by("sequence")),
    )
