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
    size: int | None = None  # characters of the whole result, where `result` is cut
    whole: str | None = None
    complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSummary:
    """A ContextSummary row; `usage` is None where the model gave no answer."""

    number: int
    run_number: int
    after_step: int
    through_run: int
    through_step: int
    mark: Mapping[str, Any]
    text: str
    ledger: str
    pinned: tuple[str, ...]
    model: str
    provider_request_id: str
    usage: Usage | None
    tokens_before: int
    tokens_after: int
    started_at: datetime.datetime


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
    connection_wait_until: datetime.datetime | None = None  # it waits for its user until then


@dataclass(frozen=True, slots=True, kw_only=True)
class Connecting:
    """What a run needs connected: its user gets a link for it in the same commit.

    `needed` are all servers, `seen` those of them that the user connects, each with the version
    of the credential that the run looked at.
    """

    needed: tuple[str, ...]
    seen: Mapping[str, str]
    run_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One fenced write: lands only while the task is RUNNING with this epoch and sequence.

    The sequence makes a write whose outcome is unknown safe to try again. `attempt` is the
    task's new count, `progress` clears its crashes. `authentication_needed` replaces the task's
    servers to connect, `connecting` asks for them. One that starts calls is refused as `Stopped`
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
    connecting: Connecting | None = None
    release: Release | None = None
    summary: NewSummary | None = None
    schema: int = 1  # that the task's rows have from here on, at least

    @property
    def size(self) -> int:
        """About how many characters it writes, as far as these can be many."""
        results = sum(len(each.whole or "") + len(each.result or "") for each in self.changes)
        return results + sum(len(each.result or "") for each in self.calls)

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
