"""What one commit of the journal says about one task."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent_runtime.messages import CallState, Usage
from agent_runtime.outcome import StopReason
from tasks_app.states import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStep:
    """A Step row. JSON fields as `models.Step` describes them."""

    id: uuid.UUID
    run_number: int
    index: int
    request: Mapping[str, Any]
    response: Mapping[str, Any]
    finish_reason: str
    model: str
    provider_request_id: str
    usage: Usage
    started_at: datetime.datetime
    completed_at: datetime.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCall:
    """A ToolCall row of the entry's step."""

    id: uuid.UUID
    index: int
    call_id: str
    name: str
    server: str
    tool: str
    arguments: str
    repeatable: bool
    refused: bool
    state: CallState
    result: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallChange:
    """A change of a ToolCall row: it starts, it goes back to planned, or it has its result."""

    id: uuid.UUID
    state: CallState
    result: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The owner lets go of the task: it ends, waits for its next attempt, or is handed back."""

    status: Status
    event: str
    wait: float | None = None  # seconds until it is due again
    reason: str = ""  # why it waits
    stop_reason: StopReason | None = None
    report: str | None = None
    final_report_produced: bool | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One fenced write: lands only while the task is RUNNING with this epoch and sequence.

    The sequence makes a write whose outcome is unknown safe to try again. `attempt` is the
    task's new count, `progress` clears its crashes. One that starts calls is refused as `Stopped`
    where nothing may be started with the task any more.
    """

    task_id: uuid.UUID
    epoch: int
    sequence: int
    at: datetime.datetime
    attempt: int = 0
    progress: bool = False
    step: NewStep | None = None
    calls: tuple[NewCall, ...] = ()
    changes: tuple[CallChange, ...] = ()
    sent_calls: int = 0
    authentication_needed: tuple[str, ...] | None = None
    release: Release | None = None

    @property
    def starts(self) -> bool:
        """True when it makes a call STARTED."""
        return any(each.state is CallState.STARTED for each in self.calls) or any(
            each.state is CallState.STARTED for each in self.changes
        )


class Stopped(Exception):
    """Nothing was written: no call of the task may be started any more.

    `reason` is that of a cancel; None where its project, tenant or end user was paused or disabled.
    """

    def __init__(self, reason: str | None) -> None:
        super().__init__(reason)
        self.reason = reason


# What became of an entry: the task's new sequence, or why no call may be started.
Landed = int | Stopped
