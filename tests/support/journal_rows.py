"""A task's life as its engine writes it, for tests that read it back."""

from __future__ import annotations

import uuid
from typing import Any

from django.utils import timezone

from agent_runtime.messages import CallState, Usage
from agent_runtime.outcome import StopReason
from tasks_app.models import AgentTask
from tasks_app.states import Status
from tasks_app.worker.claiming.claim import claim_due
from tasks_app.worker.journal.entries import CallChange, Entry, NewCall, NewStep, Release
from tasks_app.worker.journal.write import write_entries
from tests.api.test_poll import make_task
from tests.support.accounts import Account
from tests.support.engine_rows import a_worker


def a_step(index: int, *asked: NewCall) -> NewStep:
    now = timezone.now()
    calls = [
        {
            "id": each.call_id,
            "type": "function",
            "function": {"name": each.name, "arguments": each.arguments},
        }
        for each in asked
    ]
    return NewStep(
        id=uuid.uuid4(),
        run_number=1,
        index=index,
        request={"schema": 1, "notes": []},
        response={
            "role": "assistant",
            "content": "words",
            **({"tool_calls": calls} if calls else {}),
        },
        finish_reason="tool_calls",
        model="a/model",
        provider_request_id="",
        usage=Usage(input_tokens=7, output_tokens=3),
        started_at=now,
        completed_at=now,
    )


def a_call(index: int, state: CallState, result: str | None = None) -> NewCall:
    return NewCall(
        id=uuid.uuid4(),
        index=index,
        call_id=f"call_{index}",
        name="tickets__search",
        server="tickets",
        tool="search",
        arguments='{"secret": "word"}',
        repeatable=False,
        refused=result is not None,
        state=state,
        result=result,
    )


def commit(task: AgentTask, **values: Any) -> None:
    """Write an entry of the task's owner."""
    task.refresh_from_db()
    entry = Entry(
        task_id=task.id,
        epoch=task.epoch,
        sequence=task.sequence,
        at=timezone.now(),
        **values,
    )
    assert set(write_entries([entry])) == {task.id}


def claim(task: AgentTask) -> None:
    (claimed,), _ = claim_due(worker_id=a_worker().id, limit=1, after_tenant=uuid.UUID(int=0))
    assert claimed.task_id == task.id


def lived(account: Account) -> AgentTask:
    """Return a task with two steps and all that the engine writes of them, ended."""
    task = make_task(account)
    claim(task)
    calls = (a_call(0, CallState.STARTED), a_call(1, CallState.PLANNED))
    refused = a_call(2, CallState.FAILED, "There is no such tool.")
    commit(task, step=a_step(1, *calls, refused), calls=(*calls, refused))
    commit(
        task,
        changes=(
            CallChange(id=calls[0].id, state=CallState.SUCCEEDED, result="61"),
            CallChange(id=calls[1].id, state=CallState.STARTED),
        ),
    )
    commit(task, changes=(CallChange(id=calls[1].id, state=CallState.FAILED, result="no"),))
    commit(task, step=a_step(2), release=ENDING)
    return task


WHOLE = [
    (0, "created"),
    (1, "started"),
    (2, "step.completed"),
    (3, "tool_call.started"),
    (5, "tool_call.completed"),  # the refused one, which was never sent: 4 is not told
    (6, "tool_call.completed"),
    (7, "tool_call.started"),
    (8, "tool_call.completed"),
    (9, "step.completed"),
    (10, "completed"),
]


ENDING = Release(
    status=Status.COMPLETED,
    event="completed",
    stop_reason=StopReason.FINAL_REPORT,
    report="Counted 61.",
    final_report_produced=True,
)
