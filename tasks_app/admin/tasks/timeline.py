"""The timeline of a task: a page of its steps and tool calls, each with its bar."""

from __future__ import annotations

import datetime
import json
import uuid
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Exists, OuterRef, Prefetch, QuerySet
from django.urls import reverse

from agent_runtime.messages import CallState, text_of
from tasks_app.admin.tasks import formatting
from tasks_app.models import AgentTask, Event, Step, ToolCall

STEPS_A_PAGE = 50
MAX_SHOWN = 32_000  # bytes of one payload; the whole is there to download
_ERRORS = [CallState.FAILED.value, CallState.UNKNOWN_OUTCOME.value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What went in or came out, as text for people."""

    title: str
    text: str
    size: str
    cut: bool
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A step or a tool call. The bar's `left` and `width` are in hundredths of the task's time."""

    id: str
    is_step: bool
    name: str
    address: str
    state: str
    bad: bool
    attempt: str
    time: str
    tokens: str
    cost: str
    left: float
    width: float
    payloads: tuple[Payload, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """A tool of the current run: how often it was called, and false where it was not offered."""

    name: str
    calls: int
    offered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """One page of the rows."""

    rows: tuple[Row, ...]
    page: int
    pages: int
    errors_only: bool


def timeline_of(
    task: AgentTask,
    *,
    page: int | None,
    errors_only: bool,
    payloads: bool,
    now: datetime.datetime,
) -> Timeline:
    """Return a page of a task's timeline; the last where `page` is None."""
    steps = Step.objects.filter(task=task)
    calls = ToolCall.objects.order_by("index")
    if errors_only:
        calls = calls.filter(state__in=_ERRORS)
        steps = steps.filter(Exists(calls.filter(step=OuterRef("pk")).order_by()))
    count = steps.count()
    pages = max(1, -(-count // STEPS_A_PAGE))
    page = pages if page is None else min(max(1, page), pages)
    if not payloads:
        steps, calls = steps.defer("request", "response"), calls.defer("arguments", "result")
    shown = list(_page_of(steps, calls, page))
    attempts = _attempts(task, shown)
    start = task.started_at or task.created_at
    end = task.completed_at or now
    total = max(0.001, (end - start).total_seconds())
    scale = _Scale(start=start, total=total, now=now)
    rows = tuple(
        row for step in shown for row in _rows_of(step, scale, payloads, attempts[step.pk])
    )
    return Timeline(rows=rows, page=page, pages=pages, errors_only=errors_only)


def _page_of(steps: QuerySet[Step], calls: QuerySet[ToolCall], page: int) -> QuerySet[Step]:
    first = (page - 1) * STEPS_A_PAGE
    ordered = steps.order_by("run_number", "index")
    return ordered.prefetch_related(Prefetch("tool_calls", queryset=calls))[
        first : first + STEPS_A_PAGE
    ]


def _attempts(task: AgentTask, steps: Iterable[Step]) -> dict[uuid.UUID, int]:
    """Return at which try each step was made: one, and one more for each that failed before it."""
    events = Event.objects.filter(task=task).order_by("sequence")
    failed = list(_numbers(events.filter(kind__in=("waiting", "taken_over"))))
    if not failed:
        return {step.pk: 1 for step in steps}
    new_runs = _numbers(events.filter(kind__in=("retried", "continued")))
    moved = sorted([0, *new_runs, *_numbers(Step.objects.filter(task=task))])
    return {
        step.pk: 1
        + bisect_left(failed, step.sequence)
        - bisect_left(failed, moved[bisect_left(moved, step.sequence) - 1])
        for step in steps
    }


def _numbers(rows: QuerySet[Any]) -> Iterable[int]:
    return rows.values_list("sequence", flat=True)


def tools_of(task: AgentTask) -> tuple[ToolUse, ...]:
    """Return the tools of the current run, those that were called first."""
    steps = Step.objects.filter(task=task, run_number=task.run_number)
    names = steps.filter(index=1).values_list("request__tools", flat=True).first()
    offered = [str(each) for each in names] if isinstance(names, list) else []
    called = ToolCall.objects.filter(step__in=steps).values_list("name")
    calls = dict(called.annotate(many=Count("pk")).order_by("-many", "name"))
    unused = [name for name in offered if name not in calls]
    return tuple(
        ToolUse(name=name, calls=calls.get(name, 0), offered=not offered or name in offered)
        for name in (*calls, *unused)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    start: datetime.datetime
    total: float
    now: datetime.datetime

    def bar(
        self, began: datetime.datetime | None, ended: datetime.datetime | None
    ) -> tuple[str, float, float]:
        """Return the duration in words, and where the bar begins and how long it is."""
        if began is None:
            return "", 0.0, 0.0
        seconds = max(0.0, ((ended or self.now) - began).total_seconds())
        left = min(99.0, max(0.0, (began - self.start).total_seconds() / self.total * 100))
        width = min(100 - left, max(1.0, seconds / self.total * 100))
        return formatting.duration(round(seconds, 1)), round(left, 2), round(width, 2)


def _rows_of(step: Step, scale: _Scale, payloads: bool, attempt: int) -> Iterator[Row]:
    time, left, width = scale.bar(step.started_at, step.completed_at)
    usage: dict[str, Any] = step.usage
    tokens = [usage.get(name) or 0 for name in ("input_tokens", "output_tokens")]
    run = f" of run {step.run_number}" if step.run_number > 1 else ""
    yield Row(
        id=f"step-{step.run_number}-{step.index}",
        is_step=True,
        name=f"Step {step.index}{run}",
        address=reverse("admin:tasks_app_step_change", args=[step.pk]),
        state=step.finish_reason,
        bad=False,
        attempt=str(attempt),
        time=time,
        tokens=f"{tokens[0]:,} in, {tokens[1]:,} out" if any(tokens) else "",
        cost=formatting.money(usage["cost_usd"]) if usage.get("cost_usd") is not None else "",
        left=left,
        width=width,
        payloads=tuple(_of_step(step)) if payloads else (),
    )
    for call in step.tool_calls.all():
        yield _row_of_call(call, scale, payloads)


def _row_of_call(call: ToolCall, scale: _Scale, payloads: bool) -> Row:
    time, left, width = scale.bar(call.started_at, call.completed_at)
    state = call.state.replace("_", " ")
    return Row(
        id=f"call-{call.pk}",
        is_step=False,
        name=f"{call.server}: {call.tool}" if call.server else call.name,
        address=reverse("admin:tasks_app_toolcall_change", args=[call.pk]),
        state=f"{state}, refused by us" if call.refused else state,
        bad=call.state in _ERRORS,
        attempt="",
        time=time,
        tokens="",
        cost="",
        left=left,
        width=width,
        payloads=tuple(_of_call(call)) if payloads else (),
    )


def _of_step(step: Step) -> Iterator[Payload]:
    if words_of := text_of(step.response):
        yield _payload("What the model said", words_of, step, "words")
    yield _payload("Response", pretty(step.response), step, "response")
    yield _payload("Request", pretty(step.request), step, "request")


def _of_call(call: ToolCall) -> Iterator[Payload]:
    yield _payload("Input", pretty_text(call.arguments), call, "arguments")
    if call.result is not None:
        yield _payload("Output", pretty_text(call.result), call, "result")


def _payload(title: str, text: str, row: Step | ToolCall, part: str) -> Payload:
    raw = text.encode(errors="replace")
    name = "admin:tasks_app_agenttask_payload"
    return Payload(
        title=title,
        text=raw[:MAX_SHOWN].decode(errors="ignore"),
        size=formatting.size(len(raw)),
        cut=len(raw) > MAX_SHOWN,
        address=reverse(name, args=[part, row.pk]),
    )


def pretty(value: Any) -> str:
    """Return JSON for people."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def pretty_text(text: str) -> str:
    """Return a text for people: indented where it is JSON, as it is where not."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return pretty(value) if isinstance(value, dict | list) else text
