"""Reading on in the results of a task that were cut or are no longer shown to the model."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from django.db.models import QuerySet

from agent_runtime.builtin_tools import READ_RESULT
from agent_runtime.context.cut import StoredResult, find_in, read_page
from agent_runtime.context.places import Place
from agent_runtime.messages import CallState, ToolResult
from tasks_app.models import ToolCall

PORTION = 10  # results in memory at once

NO_HANDLE = "Name the handle of a result, as in r1-12-0, or a text to find in all results."
NOT_THERE = "This task has no result with the handle {handle!r}. Handles look like r1-12-0."


def read_result(task_id: uuid.UUID, arguments: Mapping[str, Any]) -> ToolResult:
    """Answer one call of the tool `read_result`; the arguments fit its schema."""
    handle, find = arguments.get("handle"), arguments.get("find")
    offset = arguments.get("offset", 0)
    if not handle:
        if not find:
            return _failed(NO_HANDLE)
        return ToolResult(text=find_in(_results(_calls(task_id)), find=find, offset=offset))
    place = Place.parse(str(handle).strip())
    found = None if place is None else next(_results(_at(task_id, place)), None)
    if found is None:
        return _failed(NOT_THERE.format(handle=handle))
    if find:
        return ToolResult(text=find_in([found], find=find, offset=offset))
    return ToolResult(text=read_page(found, offset=offset))


def _failed(text: str) -> ToolResult:
    return ToolResult(text=text, state=CallState.FAILED)


def _calls(task_id: uuid.UUID) -> QuerySet[ToolCall]:
    """Return the calls of a task that have a result of their own, in their order."""
    return (
        ToolCall.objects.filter(step__task=task_id, result__isnull=False)
        .exclude(name=READ_RESULT, server="")
        .select_related("step", "whole")
        .defer("step__request", "step__response")
        .order_by("step__run_number", "step__index", "index")
    )


def _at(task_id: uuid.UUID, place: Place) -> QuerySet[ToolCall]:
    run, step, call = place
    return _calls(task_id).filter(step__run_number=run, step__index=step, index=call)


def _results(calls: QuerySet[ToolCall]) -> Iterator[StoredResult]:
    for call in calls.iterator(chunk_size=PORTION):
        whole = getattr(call, "whole", None)
        yield StoredResult(
            place=Place(call.step.run_number, call.step.index, call.index),
            label=call.name,
            text=call.result or "" if whole is None else whole.text,
            complete=whole is None or whole.complete,
        )
