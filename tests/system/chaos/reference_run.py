"""Evidence of one task that went as scripted, for the tests of the checker to damage."""

from __future__ import annotations

import datetime
import itertools
import json
import uuid
from collections.abc import Iterator

from tasks_app.models import AgentTask, Event, Step, ToolCall, Worker
from tests.system.chaos.evidence import TaskEvidence
from tests.system.chaos.scenario import (
    Ending,
    Script,
    ScriptedCall,
    ScriptedTurn,
    digest,
    result_of,
)

BEGAN = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
SYSTEM = "You are an agent."
TOOLS = ("append", "put")

WORKER = Worker(id=uuid.UUID(int=1), state="dead", lease_until=BEGAN + datetime.timedelta(hours=1))

SCRIPT = Script(
    name="task-00001",
    turns=(
        ScriptedTurn(
            calls=tuple(
                ScriptedCall(tool=tool, label=f"task-00001/1/{index}", pause=0.1)
                for index, tool in enumerate(TOOLS)
            ),
            troubles=(),
            think=0.1,
        ),
        ScriptedTurn(calls=(), troubles=(), think=0.1),
    ),
    ending=Ending.WORDS,
)


def perfect() -> TaskEvidence:
    """Return the evidence of a task of two turns, one claim and nothing lost."""
    numbers = itertools.count(1)
    task = AgentTask(
        prompt=SCRIPT.prompt,
        status="COMPLETED",
        report=SCRIPT.report,
        stop_reason="final_report",
        steps_completed=2,
        tool_calls_made=2,
        epoch=2,
    )
    claimed = _event(task, next(numbers), "started")
    first = _step(1, next(numbers), {"content": "", "tool_calls": ["as asked"]})
    calls = [
        _call(index, scripted, numbers) for index, scripted in enumerate(SCRIPT.turns[0].calls)
    ]
    for call in calls:
        call.completed_sequence = next(numbers)
    second = _step(2, next(numbers), {"content": SCRIPT.report})
    ended = _event(task, next(numbers), "completed")
    task.sequence = ended.sequence
    return TaskEvidence(
        script=SCRIPT,
        task=task,
        steps=[first, second],
        calls={1: calls, 2: []},
        events=[claimed, ended],
        asked=[_asked(1, []), _asked(2, _shown(first, calls))],
        arrived={
            scripted.label: [{"label": scripted.label, "key": str(call.id)}]
            for call, scripted in zip(calls, SCRIPT.turns[0].calls, strict=True)
        },
    )


def _event(task: AgentTask, sequence: int, kind: str) -> Event:
    data = {"worker": str(WORKER.id)} if kind == "started" else {}
    return Event(task=task, sequence=sequence, kind=kind, data=data, at=BEGAN)


def _step(index: int, sequence: int, response: dict[str, object]) -> Step:
    return Step(
        run_number=1,
        index=index,
        epoch=1,
        sequence=sequence,
        request={"notes": [], **({"system": SYSTEM} if index == 1 else {})},
        response=response,
        provider_request_id=f"gen-{index}",
    )


def _call(index: int, scripted: ScriptedCall, numbers: Iterator[int]) -> ToolCall:
    return ToolCall(
        index=index,
        call_id=f"call-{index}",
        name=scripted.name,
        server="ledger",
        tool=scripted.tool,
        arguments=json.dumps(scripted.arguments),
        repeatable=scripted.tool == "put",
        state="succeeded",
        result=result_of(tool=scripted.tool, label=scripted.label),
        started_sequence=next(numbers),
    )


def _shown(step: Step, calls: list[ToolCall]) -> list[object]:
    answers = [
        {"role": "tool", "tool_call_id": call.call_id, "content": call.result} for call in calls
    ]
    words = step.response.get("content") or None
    return [{**step.response, "role": "assistant", "content": words}, *answers]


def _asked(turn: int, shown: list[object]) -> dict[str, object]:
    return {
        "id": f"gen-{turn}",
        "task": SCRIPT.name,
        "turn": turn,
        "seen": digest(shown),
        "system": digest([SYSTEM]),
        "at": 0.0,
    }
