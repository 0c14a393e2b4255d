"""What happened to a task, read from its journal: a page of events in the order of their numbers.

The numbers are those that each commit gave its rows, so whoever asks again after the last number
that arrived gets each event once. There is no second record of what happened.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, Max, Q, QuerySet

from tasks_app.models import AgentTask, Event, Step, ToolCall
from tasks_app.states import Status

CREATED = 0  # the number of the first event: no row has it but the task itself
_PREFIX = "agent_task."
# What of an event's data is for callers; which worker holds a task is not.
PUBLIC_FIELDS = (
    "status",
    "stop_reason",
    "reason",
    "run_number",
    "tokens_before",
    "tokens_after",
    "servers",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvent:
    """One thing that happened. `sequence` rises within its task; some numbers may be missing."""

    sequence: int
    type: str
    at: datetime.datetime
    data: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """Events in their order, and how the task stood when they were read.

    `version` changes with everything that a poll shows of the task's progress.
    """

    status: Status
    version: str
    events: tuple[TaskEvent, ...]
    has_more: bool


# Whether a task waits for what is paused or disabled: that is told of it, and no number of its own.
SUSPENDED = ExpressionWrapper(
    Q(status=Status.PENDING.value)
    & (
        Q(project__paused=True)
        | Q(tenant__paused=True)
        | Q(project__disabled_at__isnull=False)
        | Q(tenant__disabled_at__isnull=False)
        | Q(end_user__disabled_at__isnull=False)
    ),
    output_field=BooleanField(),
)


def version_of(
    *, sequence: int, cancel_requested_at: datetime.datetime | None, is_suspended: bool
) -> str:
    """Return a text that differs whenever the task's status or progress has changed."""
    return f"{sequence}{'c' if cancel_requested_at else ''}{'r' if is_suspended else ''}"


def read_events(
    *, task_id: uuid.UUID, tenant_id: uuid.UUID, after: int | None, limit: int
) -> EventPage | None:
    """Return up to `limit` events with numbers above `after`, or None: the tenant has no such task.

    1. Read how far the task's numbers go. Whatever has a number up to there is committed.
    2. Read what the rows tell of between `after` and there. What is written meanwhile has higher
       numbers: it belongs to a later page, so that no page ends beyond something it left out.
    """
    task = (
        AgentTask.objects.filter(id=task_id, tenant_id=tenant_id)
        .only("id", "status", "sequence", "cancel_requested_at", "created_at", "model")
        .annotate(is_suspended=SUSPENDED)
        .first()
    )
    if task is None:
        return None
    first = CREATED if after is None else after + 1
    found = sorted(
        _iter_events(task, first=first, limit=limit + 1), key=lambda event: event.sequence
    )
    return EventPage(
        status=Status(task.status),
        version=version_of(
            sequence=task.sequence,
            cancel_requested_at=task.cancel_requested_at,
            is_suspended=task.is_suspended,
        ),
        events=tuple(found[:limit]),
        has_more=len(found) > limit,
    )


def _iter_events(task: AgentTask, *, first: int, limit: int) -> Iterator[TaskEvent]:
    """Yield, in no order, at least the `limit` lowest events from `first` to the task's number."""
    last = task.sequence
    if first <= CREATED:
        data = {"status": Status.PENDING.value, "model": task.model}
        yield TaskEvent(sequence=CREATED, type=_type("created"), at=task.created_at, data=data)
    if first > last:
        return
    between = (first, last)
    events = Event.objects.filter(task=task, sequence__range=between)
    yield from map(_of_event, events.order_by("sequence")[:limit])
    steps = Step.objects.filter(task=task, sequence__range=between)
    steps = steps.defer("request", "response")
    yield from map(_of_step, steps.order_by("sequence")[:limit])
    calls = _calls(task, first)
    started = calls.filter(started_sequence__range=between, refused=False)  # those were not sent
    yield from map(_of_start, started.order_by("started_sequence")[:limit])
    ended = calls.filter(completed_sequence__range=between)
    yield from map(_of_end, ended.order_by("completed_sequence")[:limit])


def _calls(task: AgentTask, first: int) -> QuerySet[ToolCall]:
    """Return the calls that can have changed since: of the newest step before, and all later."""
    before = Step.objects.filter(task=task, sequence__lt=first)
    newest = before.aggregate(newest=Max("sequence"))["newest"] or 0
    return (
        ToolCall.objects.filter(step__task=task, step__sequence__gte=newest)
        .select_related("step")
        .defer("arguments", "result", "step__request", "step__response")
    )


def _type(kind: str) -> str:
    return f"{_PREFIX}{kind}"


def _of_event(event: Event) -> TaskEvent:
    data = {name: event.data[name] for name in PUBLIC_FIELDS if name in event.data}
    return TaskEvent(sequence=event.sequence, type=_type(event.kind), at=event.at, data=data)


def _of_step(step: Step) -> TaskEvent:
    return TaskEvent(
        sequence=step.sequence,
        type=_type("step.completed"),
        at=step.completed_at,
        data={
            "run_number": step.run_number,
            "step": step.index,
            "model": step.model,
            "finish_reason": step.finish_reason,
            "usage": step.usage,
            "started_at": step.started_at.isoformat(timespec="seconds"),
        },
    )


def _of_start(call: ToolCall) -> TaskEvent:
    assert call.started_sequence is not None
    assert call.started_at is not None
    return TaskEvent(
        sequence=call.started_sequence,
        type=_type("tool_call.started"),
        at=call.started_at,
        data=_call_data(call),
    )


def _of_end(call: ToolCall) -> TaskEvent:
    assert call.completed_sequence is not None
    assert call.completed_at is not None
    return TaskEvent(
        sequence=call.completed_sequence,
        type=_type("tool_call.completed"),
        at=call.completed_at,
        data={**_call_data(call), "state": call.state, "refused": call.refused},
    )


def _call_data(call: ToolCall) -> dict[str, Any]:
    return {
        "run_number": call.step.run_number,
        "step": call.step.index,
        "tool_call_id": str(call.id),
        "server": call.server,
        "tool": call.tool or call.name,
    }
