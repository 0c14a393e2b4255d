"""What the rows of one task must say, whatever happened to it on the way."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tasks_app.models import ToolCall, Worker
from tests.system.chaos.evidence import TaskEvidence
from tests.system.chaos.scenario import REPEATABLE, Ending, ScriptedCall, result_of

CLAIMS = ("started", "resumed")
NOTE = "\n\nNote of the engine:"


def check_rows(found: TaskEvidence, *, workers: Mapping[Any, Worker]) -> Iterator[str]:
    """Yield a sentence for everything that is wrong."""
    yield from _ending(found)
    yield from _steps(found)
    yield from _sequence(found)
    yield from _ownership(found, workers)


def _ending(found: TaskEvidence) -> Iterator[str]:
    task, script = found.task, found.script
    if task.status != script.status:
        detail = task.error or task.waiting_reason or task.stop_reason
        yield f"ended {task.status}, scripted {script.status} ({detail})"
        return
    if script.ending is Ending.REFUSED:
        yield from _refusal(found)
    unknown = Counter(
        call.name
        for calls in found.calls.values()
        for call in calls
        if call.state == "unknown_outcome"
    )
    report, note, named = (task.report or "").partition(NOTE)
    if script.ending is not Ending.REFUSED and report != script.report:
        yield f"the report is {report!r}, scripted {script.report!r}"
    if bool(note) != bool(unknown):
        yield f"{sum(unknown.values())} unknown outcomes, but the note says {named!r}"
    for name, count in unknown.items():
        said = f"{name} ({count})" if count > 1 else name
        if said not in named:
            yield f"the report does not name the unknown outcome of {said}"


def _refusal(found: TaskEvidence) -> Iterator[str]:
    task, steps = found.task, found.script.steps
    if "HTTP 402" not in (task.error or ""):
        yield f"failed with another error: {task.error}"
    if (task.report is None) != (steps == 0):
        yield f"failed after {steps} steps with the report {task.report!r}"


def _steps(found: TaskEvidence) -> Iterator[str]:
    indexes = [(step.run_number, step.index) for step in found.steps]
    wanted = [(1, index) for index in range(1, found.script.steps + 1)]
    if indexes != wanted:
        yield f"the steps are {indexes}, scripted 1 to {found.script.steps}"
        return
    if found.task.steps_completed != len(wanted):
        yield f"steps_completed is {found.task.steps_completed}, there are {len(wanted)}"
    epochs = [step.epoch for step in found.steps]
    if epochs != sorted(epochs):
        yield f"the steps' epochs go back: {epochs}"
    sent = 0
    for step, turn in zip(found.steps, found.script.turns, strict=False):
        calls = [call for call in found.calls[step.index] if call.server]
        if len(calls) != len(turn.calls):
            yield f"step {step.index} has {len(calls)} calls, scripted {len(turn.calls)}"
            continue
        sent += len(calls)
        for call, scripted in zip(calls, turn.calls, strict=True):
            yield from _call(call, scripted)
    if found.task.tool_calls_made != sent:
        yield f"tool_calls_made is {found.task.tool_calls_made}, {sent} were made"


def _call(call: ToolCall, scripted: ScriptedCall) -> Iterator[str]:
    where = f"call {scripted.label} of {scripted.tool}"
    if call.name != scripted.name or json.loads(call.arguments) != scripted.arguments:
        yield f"{where}: the row says {call.name} {call.arguments}"
    if call.repeatable != REPEATABLE[scripted.tool]:
        yield f"{where}: repeatable is {call.repeatable}"
    if call.state == "unknown_outcome" and not call.repeatable:
        return
    wanted = "failed" if scripted.tool == "refuse" else "succeeded"
    if call.state != wanted:
        yield f"{where}: {call.state}, not {wanted} ({(call.result or '')[:200]})"
    elif result_of(tool=scripted.tool, label=scripted.label) not in (call.result or ""):
        yield f"{where}: another call's result ({(call.result or '')[:100]})"


def _sequence(found: TaskEvidence) -> Iterator[str]:
    numbers = [step.sequence for step in found.steps]
    numbers += [event.sequence for event in found.events]
    for step in found.steps:
        for call in found.calls[step.index]:
            started, ended = call.started_sequence, call.completed_sequence
            if started is None or ended is None:
                yield f"call {call.index} of step {step.index} was never numbered"
                continue
            numbers += [started, ended]
            if not step.sequence < started < ended:
                yield f"step {step.index}, call {call.index}: {step.sequence}, {started}, {ended}"
    if sorted(numbers) != list(range(1, found.task.sequence + 1)):
        twice = [number for number, times in Counter(numbers).items() if times > 1]
        gaps = sorted({*range(1, found.task.sequence + 1)} - {*numbers})
        yield f"the sequence to {found.task.sequence} has gaps {gaps} and doubles {twice}"


def _ownership(found: TaskEvidence, workers: Mapping[Any, Worker]) -> Iterator[str]:
    """Claims and their ends alternate; nobody claims who may not; only the dead are robbed."""
    owned = False
    for event in found.events:
        claim = event.kind in CLAIMS
        if claim == owned:
            yield f"event {event.sequence}, {event.kind}: {'owned' if owned else 'free'} before it"
        owned = claim
        worker = _worker(event.data, workers)
        if claim and (worker is None or event.at > worker.lease_until):
            yield f"event {event.sequence}: claimed by a worker whose lease had run out"
        if event.kind == "taken_over" and (worker is None or worker.state != "dead"):
            yield f"event {event.sequence}: taken over from a worker that had ended in good order"
    if owned:
        yield "nobody let go of it"
    if found.task.epoch != len(found.events):
        yield f"the epoch is {found.task.epoch} after {len(found.events)} changes of owner"


def _worker(data: Mapping[str, Any], workers: Mapping[Any, Worker]) -> Worker | None:
    return next((each for each in workers.values() if str(each.id) == data.get("worker")), None)
