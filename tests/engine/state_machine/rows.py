"""What is on disk, and what must be true of it whatever happened."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks_app.models import AgentTask, Event, Step, ToolCall, Worker
from tasks_app.states import TRANSITIONS, Status, WorkerState

LIVING = (WorkerState.ALIVE, WorkerState.DRAINING)


Row = dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """All rows of the engine at one moment; tasks, workers and steps by id, column by column."""

    tasks: Mapping[uuid.UUID, Row]
    workers: Mapping[uuid.UUID, Row]
    steps: Mapping[uuid.UUID, Row]
    calls: list[Row]
    events: list[Row]

    def held_by(self, worker_id: uuid.UUID) -> set[uuid.UUID]:
        """Return the tasks that a worker holds."""
        return {key for key, task in self.tasks.items() if task["worker_id"] == worker_id}


def read_rows() -> Rows:
    """Read everything."""
    return Rows(
        tasks={
            row["id"]: {**row} for row in AgentTask.objects.order_by("created_at", "id").values()
        },
        workers={
            row["id"]: {**row} for row in Worker.objects.order_by("started_at", "id").values()
        },
        steps={row["id"]: {**row} for row in Step.objects.order_by("run_number", "index").values()},
        calls=[{**row} for row in ToolCall.objects.order_by("id").values()],
        events=[{**row} for row in Event.objects.order_by("id").values()],
    )


def check_rows(rows: Rows) -> None:
    """Check what must be true of the rows at any moment."""
    for task_id, task in rows.tasks.items():
        running = task["status"] == Status.RUNNING
        assert running is (task["worker_id"] is not None)
        if running:
            assert rows.workers[task["worker_id"]]["state"] in LIVING, "nobody holds it"
        steps = [step for step in rows.steps.values() if step["task_id"] == task_id]
        calls = [call for call in rows.calls if rows.steps[call["step_id"]]["task_id"] == task_id]
        events = [event for event in rows.events if event["task_id"] == task_id]
        _check_numbers(task, steps, calls, events)
        _check_steps(task, steps)
        _check_end(task, calls)


def _check_numbers(task: Row, steps: list[Row], calls: list[Row], events: list[Row]) -> None:
    numbers = [row["sequence"] for row in (*steps, *events)]
    for call in calls:
        numbers += [call["started_sequence"], call["completed_sequence"]]
    known = sorted(number for number in numbers if number is not None)
    assert known == [*range(1, task["sequence"] + 1)], "a gap, or a number twice"


def _check_steps(task: Row, steps: list[Row]) -> None:
    by_run: dict[int, list[int]] = {}
    for step in steps:
        by_run.setdefault(step["run_number"], []).append(step["index"])
    for run_number, indexes in by_run.items():
        assert run_number <= task["run_number"]
        assert indexes == [*range(1, len(indexes) + 1)], "a step is missing"
    assert task["steps_completed"] == len(steps)
    assert task["input_tokens"] == 10 * len(steps)
    epochs = [step["epoch"] for step in sorted(steps, key=lambda step: step["sequence"])]
    assert epochs == sorted(epochs), "an earlier owner wrote after a later one"


def _check_end(task: Row, calls: list[Row]) -> None:
    ended = Status(task["status"]).terminal
    assert ended is (task["completed_at"] is not None)
    assert ended is (task["stop_reason"] != "")
    assert (task["error"] is not None) is (task["status"] == Status.FAILED)
    still_open = [call for call in calls if call["result"] is None]
    assert not (ended and still_open), "it ended with a call open"


def check_change(before: Rows, after: Rows) -> None:
    """Check what no step of the engine may do, whichever it was."""
    assert before.tasks.keys() <= after.tasks.keys()
    for task_id, old in before.tasks.items():
        new = after.tasks[task_id]
        assert new["epoch"] >= old["epoch"]
        assert new["sequence"] >= old["sequence"]
        assert new["run_number"] >= old["run_number"]
        if new["worker_id"] != old["worker_id"]:
            assert new["epoch"] > old["epoch"], "a new owner with the old one's right to write"
        if new["sequence"] == old["sequence"]:
            quiet = {**new, "cancel_requested_at": None, "cancel_reason": ""}
            assert quiet == {**old, "cancel_requested_at": None, "cancel_reason": ""}
        if new["status"] != old["status"]:
            assert Status(new["status"]) in TRANSITIONS[Status(old["status"])]
    for worker_id, worker in before.workers.items():
        if worker["state"] not in LIVING:
            assert after.workers[worker_id]["state"] == worker["state"], "the dead do not rise"
