"""The verdict on a chaos run, from the rows, the model's book and the ledger."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.system.chaos.check_effects import check_effects
from tests.system.chaos.check_rows import CLAIMS, check_rows
from tests.system.chaos.evidence import Evidence
from tests.system.chaos.faults import KILLS_OF_WORKERS, Fault


def check(evidence: Evidence) -> Iterator[str]:
    """Yield a sentence for every violation."""
    for name in evidence.missing:
        yield f"{name}: submitted, but there is not exactly one row of it"
    for found in evidence.tasks:
        problems = itertools.chain(
            check_rows(found, workers=evidence.workers),
            check_effects(found, answered=evidence.answered),
        )
        for problem in problems:
            yield f"{found.script.name} ({found.task.id}): {problem}"
    known = {found.script.name for found in evidence.tasks}
    for name in {line["task"] for line in evidence.asked} - known:
        yield f"{name}: the model was asked, and there is no such task"
    for worker in evidence.workers.values():
        if worker.state not in ("gone", "dead"):
            yield f"worker {worker.id} (pid {worker.pid}) is still {worker.state}"
        if worker.held:
            yield f"worker {worker.id} has ended and holds {worker.held} tasks"
    yield from _zombies(evidence)


def _zombies(evidence: Evidence) -> Iterator[str]:
    """Yield the claims by workers that had been declared dead before."""
    buried: dict[str, list[object]] = defaultdict(list)
    events = [event for found in evidence.tasks for event in found.events]
    for event in events:
        if event.kind == "taken_over":
            buried[event.data["worker"]].append(event.at)
    for event in events:
        times = buried.get(event.data.get("worker", ""), [])
        if event.kind in CLAIMS and any(event.at > at for at in times):  # type: ignore[operator]
            yield f"worker {event.data['worker']} claimed task {event.task_id} after its burial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The table's numbers. Times are in seconds, from a kill of a worker to the model's book."""

    tasks: Counter[str]  # by status
    steps: int
    calls: int
    paid_twice: int
    in_doubt: int
    sent_again: int  # repeatable calls that arrived more than once
    taken_over: int
    handed_back: int
    waited: int
    claims: list[float]
    requests: list[float]


def figures(evidence: Evidence, faults: Sequence[Fault]) -> Figures:
    """Return the numbers of a run."""
    calls = [call for found in evidence.tasks for each in found.calls.values() for call in each]
    kinds = Counter(event.kind for found in evidence.tasks for event in found.events)
    answers = Counter(
        (line["task"], line["turn"]) for line in evidence.asked if line["id"] in evidence.answered
    )
    steps = sum(len(found.steps) for found in evidence.tasks)
    return Figures(
        tasks=Counter(found.task.status for found in evidence.tasks),
        steps=steps,
        calls=sum(bool(call.server) for call in calls),
        paid_twice=sum(answers.values()) - steps,
        in_doubt=sum(call.state == "unknown_outcome" for call in calls),
        sent_again=sum(
            len(lines) > 1 for found in evidence.tasks for lines in found.arrived.values()
        ),
        taken_over=kinds["taken_over"],
        handed_back=kinds["handed_back"],
        waited=kinds["waiting"],
        claims=_pauses(faults, _times_of_claims(evidence)),
        requests=_pauses(faults, _times_of_requests(evidence)),
    )


def _pauses(faults: Sequence[Fault], times: Mapping[str, Sequence[float]]) -> list[float]:
    """Return how long the victims of each kill of a worker waited for the next of their times."""
    pauses = []
    for fault in faults:
        if fault.kind in KILLS_OF_WORKERS:
            for name in fault.victims:
                pauses += [min(later) - fault.at for later in [_after(times[name], fault)] if later]
    return pauses


def _after(times: Sequence[float], fault: Fault) -> list[float]:
    return [at for at in times if at > fault.at]


def _times_of_requests(evidence: Evidence) -> Mapping[str, Sequence[float]]:
    times = defaultdict(list)
    for line in evidence.asked:
        times[line["task"]].append(line["at"])
    return times


def _times_of_claims(evidence: Evidence) -> Mapping[str, Sequence[float]]:
    return {
        found.script.name: [e.at.timestamp() for e in found.events if e.kind in CLAIMS]
        for found in evidence.tasks
    }


def summary(values: Sequence[float]) -> str:
    """Return median and worst, as text."""
    if not values:
        return "no victims"
    median = statistics.median(values)
    return f"median {median:.2f} s, worst {max(values):.2f} s, {len(values)} victims"
