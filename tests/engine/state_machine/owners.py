"""An owner's view of its task, which may be out of date, and the writes that follow from it."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass, field
from typing import Any

from agent_runtime.messages import CallState, Usage
from agent_runtime.outcome import StopReason
from tasks_app.models import AgentTask, Step, ToolCall
from tasks_app.states import Status
from tasks_app.worker.claiming.claim import Claim
from tasks_app.worker.journal import outcomes
from tasks_app.worker.journal.entries import CallChange, Entry, NewCall, NewStep, Release

COMPLETED = Release(
    status=Status.COMPLETED,
    event="completed",
    stop_reason=StopReason.FINAL_REPORT,
    report="Done.",
    final_report_produced=True,
)
CANCELLED = Release(
    status=Status.INCOMPLETE,
    event="incomplete",
    stop_reason=StopReason.CANCELLED,
    report="Stopped.",
    final_report_produced=False,
)
WAITING = Release(status=Status.PENDING, event="waiting", wait=5.0, reason="Busy.")
WAYS_OUT = {
    "handed back": outcomes.handed_back(),
    "waiting": WAITING,
    "failed": outcomes.failed("Add credit."),
    "cancelled": CANCELLED,
    "completed": COMPLETED,
}


@dataclass
class Owner:
    """A task as its owner read it at the claim, followed by what it wrote since."""

    worker_id: uuid.UUID
    claim: Claim
    sequence: int
    attempt: int
    run_number: int
    index: int
    open: dict[uuid.UUID, CallState] = field(default_factory=dict)
    planned_open: dict[uuid.UUID, CallState] = field(default_factory=dict)  # once it has landed

    @classmethod
    def of(cls, worker_id: uuid.UUID, claim: Claim) -> Owner:
        """Read the claimed task."""
        task = AgentTask.objects.get(pk=claim.task_id)
        steps = Step.objects.filter(task=task, run_number=task.run_number)
        calls = ToolCall.objects.filter(step__task=task, state__in=["planned", "started"])
        return cls(
            worker_id=worker_id,
            claim=claim,
            sequence=task.sequence,
            attempt=task.attempt,
            run_number=task.run_number,
            index=steps.count(),
            open={call.id: CallState(call.state) for call in calls},
        )

    def step(self, *, now: datetime.datetime, started: int, planned: int, draining: bool) -> Entry:
        """Write the next step with its calls; while draining none is started, and it is let go."""
        states = [CallState.STARTED] * started + [CallState.PLANNED] * planned
        if draining:
            states = [CallState.PLANNED] * len(states)
        calls = tuple(_call(index, state) for index, state in enumerate(states))
        self.planned_open = {call.id: call.state for call in calls}
        return self._entry(
            now=now,
            progress=True,
            step=_step(self.run_number, self.index + 1, now),
            calls=calls,
            sent_calls=sum(state is CallState.STARTED for state in states),
            release=outcomes.handed_back() if draining else None,
        )

    def results(self, *, now: datetime.datetime, many: int) -> Entry:
        """Write results of the first started calls, and start what was planned in their place."""
        started = [key for key, state in self.open.items() if state is CallState.STARTED][:many]
        planned = [key for key, state in self.open.items() if state is CallState.PLANNED][:many]
        changes = [_change(key, CallState.SUCCEEDED) for key in started]
        changes += [CallChange(id=key, state=CallState.STARTED) for key in planned]
        left = {key: state for key, state in self.open.items() if key not in started}
        self.planned_open = {**left, **dict.fromkeys(planned, CallState.STARTED)}
        return self._entry(
            now=now, progress=bool(started), changes=tuple(changes), sent_calls=len(planned)
        )

    def release(self, way: str, *, now: datetime.datetime) -> Entry:
        """Let the task go; one that ends leaves no call open."""
        release = WAYS_OUT[way]
        self.planned_open = {}
        closing = self.open if release.status.terminal else {}
        changes = tuple(_change(key, CallState.CANCELLED) for key in closing)
        attempt = self.attempt + (way == "waiting")
        return self._entry(now=now, changes=changes, release=release, attempt=attempt)

    def landed(self, entry: Entry, sequence: int) -> None:
        """Follow the row: the write is on disk."""
        self.sequence = sequence
        self.attempt = entry.attempt
        self.index += entry.step is not None
        self.open = self.planned_open

    def _entry(self, *, now: datetime.datetime, **values: Any) -> Entry:
        return Entry(
            task_id=self.claim.task_id,
            epoch=self.claim.epoch,
            sequence=self.sequence,
            at=now,
            **values,
        )


def _step(run_number: int, index: int, now: datetime.datetime) -> NewStep:
    return NewStep(
        id=uuid.uuid4(),
        run_number=run_number,
        index=index,
        request={"schema": 1, "notes": []},
        response={"role": "assistant", "content": "words"},
        finish_reason="stop",
        model="scripted",
        provider_request_id="",
        usage=Usage(input_tokens=10, output_tokens=5),
        started_at=now,
        completed_at=now,
    )


def _call(index: int, state: CallState) -> NewCall:
    return NewCall(
        id=uuid.uuid4(),
        index=index,
        call_id=f"call_{index}",
        name="fake__append",
        server="fake",
        tool="append",
        arguments="{}",
        repeatable=False,
        refused=False,
        state=state,
        result=None,
    )


def _change(key: uuid.UUID, state: CallState) -> CallChange:
    return CallChange(id=key, state=state, result="a result")
