"""An entry of the journal as rows, each change with its sequence number.

The numbers follow the order in which a stream tells of the changes: the step, the starts and
results of its calls, changes of earlier calls, what the user must connect, the end.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent_runtime.messages import CallState, Usage
from tasks_app.states import Status
from tasks_app.worker.journal.entries import (
    CallChange,
    Entry,
    NewCall,
    NewStep,
    NewSummary,
    Release,
)

Row = dict[str, Any]


@dataclass(slots=True)
class Rows:
    """What a batch of entries writes, table by table; values are JSON-ready."""

    tasks: list[Row] = field(default_factory=list)
    steps: list[Row] = field(default_factory=list)
    calls: list[Row] = field(default_factory=list)
    changes: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    wholes: list[Row] = field(default_factory=list)
    summaries: list[Row] = field(default_factory=list)


def rows_of(entries: Sequence[Entry]) -> Rows:
    """Return the rows of a batch."""
    rows = Rows()
    for entry in entries:
        _add(rows, entry)
    return rows


def _add(rows: Rows, entry: Entry) -> None:
    numbers = itertools.count(entry.sequence + 1)
    at = entry.at.isoformat()
    task_id = str(entry.task_id)
    if entry.step is not None:
        rows.steps.append(_step(entry.step, task_id, entry.epoch, next(numbers)))
        rows.calls.extend(
            _call(call, task_id, str(entry.step.id), at, numbers) for call in entry.calls
        )
    rows.changes.extend(_change(change, task_id, at, numbers) for change in entry.changes)
    rows.wholes.extend(
        _whole(change, task_id) for change in entry.changes if change.whole is not None
    )
    if entry.summary is not None:
        number = next(numbers)
        rows.summaries.append(_summary(entry.summary, task_id, entry.epoch, number, at))
        if entry.summary.text:
            rows.events.append(_compacted(entry.summary, task_id, number, at))
    for kind, data in _events(entry):
        number = next(numbers)
        rows.events.append(
            {"task_id": task_id, "sequence": number, "kind": kind, "data": data, "at": at}
        )
    rows.tasks.append(_task(entry, task_id, next(numbers) - 1))


def _step(step: NewStep, task_id: str, epoch: int, sequence: int) -> Row:
    return {
        "id": str(step.id),
        "task_id": task_id,
        "run_number": step.run_number,
        "index": step.index,
        "epoch": epoch,
        "sequence": sequence,
        "schema_version": 1,
        "request": step.request,
        "response": step.response,
        "finish_reason": step.finish_reason,
        "model": step.model,
        "provider_request_id": step.provider_request_id,
        "usage": usage_json(step.usage),
        "started_at": step.started_at.isoformat(),
        "completed_at": step.completed_at.isoformat(),
    }


def usage_json(usage: Usage) -> Row:
    """Return the usage of a step as it is stored."""
    return {name: getattr(usage, name) for name in Usage.__slots__}


def _call(call: NewCall, task_id: str, step_id: str, at: str, numbers: Iterator[int]) -> Row:
    started = call.state is not CallState.PLANNED
    ended = call.state.ended
    return {
        "id": str(call.id),
        "task_id": task_id,
        "step_id": step_id,
        "index": call.index,
        "call_id": call.call_id,
        "name": call.name,
        "server": call.server,
        "tool": call.tool,
        "arguments": call.arguments,
        "repeatable": call.repeatable,
        "refused": call.refused,
        "state": call.state.value,
        "result": call.result,
        "started_at": at if started else None,
        "started_sequence": next(numbers) if started else None,
        "completed_at": at if ended else None,
        "completed_sequence": next(numbers) if ended else None,
    }


def _change(change: CallChange, task_id: str, at: str, numbers: Iterator[int]) -> Row:
    started = change.state is CallState.STARTED
    ended = change.state.ended
    return {
        "id": str(change.id),
        "task_id": task_id,
        "state": change.state.value,
        "result": change.result,
        "result_size": change.size,
        "started_at": at if started else None,
        "started_sequence": next(numbers) if started else None,
        "completed_at": at if ended else None,
        "completed_sequence": next(numbers) if ended else None,
    }


def _whole(change: CallChange, task_id: str) -> Row:
    return {
        "call_id": str(change.id),
        "task_id": task_id,
        "text": change.whole,
        "complete": change.complete,
    }


def _summary(summary: NewSummary, task_id: str, epoch: int, sequence: int, at: str) -> Row:
    return {
        "task_id": task_id,
        "number": summary.number,
        "run_number": summary.run_number,
        "after_step": summary.after_step,
        "through_run": summary.through_run,
        "through_step": summary.through_step,
        "epoch": epoch,
        "sequence": sequence,
        "mark": summary.mark,
        "text": summary.text,
        "ledger": summary.ledger,
        "pinned": list(summary.pinned),
        "model": summary.model,
        "provider_request_id": summary.provider_request_id,
        "usage": None if summary.usage is None else usage_json(summary.usage),
        "tokens_before": summary.tokens_before,
        "tokens_after": summary.tokens_after,
        "started_at": summary.started_at.isoformat(),
        "completed_at": at,
    }


def _compacted(summary: NewSummary, task_id: str, sequence: int, at: str) -> Row:
    data = {
        "run_number": summary.run_number,
        "tokens_before": summary.tokens_before,
        "tokens_after": summary.tokens_after,
    }
    return {"task_id": task_id, "sequence": sequence, "kind": "compacted", "data": data, "at": at}


def _events(entry: Entry) -> Iterator[tuple[str, Row]]:
    if entry.connecting is not None:
        yield "authentication_needed", {"servers": list(entry.connecting.needed)}
    if entry.release is not None:
        yield entry.release.event, _event_data(entry.release)


def _event_data(release: Release) -> Row:
    data: Row = {"status": release.status.value}
    if release.reason:
        data["reason"] = release.reason
    if release.stop_reason:
        data["stop_reason"] = release.stop_reason.value
    return data


def _task(entry: Entry, task_id: str, new_sequence: int) -> Row:
    release = entry.release
    usage = _usage(entry)
    ended = release is not None and release.status.terminal
    return {
        "id": task_id,
        "epoch": entry.epoch,
        "sequence": entry.sequence,
        "new_sequence": new_sequence,
        "starts": entry.starts,
        "new_status": (release.status if release else Status.RUNNING).value,
        "released": release is not None,
        "attempt": entry.attempt,
        "progress": entry.progress,
        "next_attempt_at": _due(entry.at, release),
        "waiting_reason": release.reason if release else "",
        "schema_version": entry.schema,
        "steps": int(entry.step is not None),
        "summaries": int(entry.summary is not None),
        "tool_calls": entry.sent_calls,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost_usd": usage.cost_usd,
        "authentication_needed": (
            None if entry.authentication_needed is None else list(entry.authentication_needed)
        ),
        "connection_wait_until": _wait_until(release),
        "stop_reason": release.stop_reason.value if release and release.stop_reason else "",
        "report": release.report if release else None,
        "final_report_produced": release.final_report_produced if release else None,
        "error": release.error if release else None,
        "completed_at": entry.at.isoformat() if ended else None,
    }


def _usage(entry: Entry) -> Usage:
    if entry.step is not None:
        return entry.step.usage
    return (entry.summary and entry.summary.usage) or Usage()


def _due(at: datetime.datetime, release: Release | None) -> str | None:
    if release is not None and release.connection_wait_until is not None:
        return _wait_until(release)
    if release is None or release.wait is None:
        return None
    return (at + datetime.timedelta(seconds=release.wait)).isoformat()


def _wait_until(release: Release | None) -> str | None:
    until = release.connection_wait_until if release else None
    return None if until is None else until.isoformat()
