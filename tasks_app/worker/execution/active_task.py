"""A task in the hands of its owner: what is in memory, and how a change of it is committed."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from agent_runtime.messages import Call, CallState, Turn
from agent_runtime.transcript import Transcript
from caylex_project.db.clock import clock as database_clock
from tasks_app.notifications.task_log import log_end, log_let_go
from tasks_app.worker.claiming.claim import Claim
from tasks_app.worker.execution.toolbox import Toolbox
from tasks_app.worker.journal.entries import CallChange, Entry, NewCall, NewStep, Release, Stopped
from tasks_app.worker.journal.journal import Journal


def _new_future() -> asyncio.Future[str]:
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True, kw_only=True)
class ActiveTask:
    """One claimed task, made on the event loop.

    Of the row it keeps what is asked for while it runs, and no more: a thousand may be in hand.
    `sequence` and `attempt` follow the row; `pinned` is what a run's first step keeps for the
    whole run, the system prompt and the revisions of the skills, and goes with that step.
    `clock` tells the database's time. `cancelling` is done, with the reason, once the task is asked
    to stop. While `pausing` it is to be handed back.
    """

    claim: Claim
    project_id: uuid.UUID
    model: str
    run_number: int
    transcript: Transcript
    toolbox: Toolbox
    journal: Journal
    sequence: int
    attempt: int
    pinned: dict[str, Any]
    clock: Callable[[], datetime.datetime] = database_clock.now
    cancelling: asyncio.Future[str] = field(default_factory=_new_future)
    pausing: bool = False

    def cancel(self, reason: str) -> None:
        """Stop the task at its next safe point; the model call in flight is given up at once."""
        if not self.cancelling.done():
            self.cancelling.set_result(reason)

    @property
    def time(self) -> float:
        """The database's time in POSIX seconds."""
        return self.clock().timestamp()

    def stop(self, stopped: Stopped) -> None:
        """Do what the refusal of a commit says: stop the task, or hand it back."""
        if stopped.reason is None:
            self.pausing = True
        else:
            self.cancel(stopped.reason)

    async def commit_step(
        self,
        turn: Turn,
        *,
        started_at: datetime.datetime,
        release: Release | None,
    ) -> None:
        """Write a model's answer and the calls that it asked for, before any of them is sent.

        Raises Stopped where calls are STARTED and none may be.
        """
        at = self.clock()
        request: dict[str, Any] = {"schema": 1, "notes": list(turn.notes)}
        if turn.closing:
            request["closing"] = turn.closing.value
        if turn.answer.adaptation:
            request["adaptation"] = turn.answer.adaptation.as_json()
        if turn.index == 1:
            request |= {**self.pinned, "tools": [each.name for each in self.toolbox.offered]}
        step = NewStep(
            id=uuid.uuid4(),
            run_number=self.run_number,
            index=turn.index,
            request=request,
            response=turn.answer.message,
            finish_reason=turn.answer.finish_reason[:50],
            model=(turn.answer.model or self.model)[:200],
            provider_request_id=turn.answer.request_id[:200],
            usage=turn.answer.usage,
            started_at=started_at,
            completed_at=at,
        )
        needed = [each.name for each in self.toolbox.servers if each.needs_credential]
        await self._commit(
            Entry(
                **self._claim_fields(),
                at=at,
                progress=True,
                step=step,
                calls=tuple(_new_call(call) for call in turn.calls),
                sent_calls=sum(_sends(call) for call in turn.calls),
                authentication_needed=tuple(needed) if turn.index == 1 else None,
                release=release,
            )
        )
        self.pinned = {}

    async def commit_calls(
        self, calls: Iterable[Call], *, release: Release | None = None, attempt: int = 0
    ) -> None:
        """Write the new states and results of calls, and the release if the task is let go.

        Raises Stopped where calls are STARTED and none may be.
        """
        changed = list(calls)
        await self._commit(
            Entry(
                **self._claim_fields(),
                at=self.clock(),
                attempt=attempt,
                progress=any(call.state.ended for call in changed),
                changes=tuple(_change(call) for call in changed),
                sent_calls=sum(_sends(call) for call in changed),
                release=release,
            )
        )

    async def release(self, release: Release, *, attempt: int = 0) -> None:
        """Write that the task is let go, and nothing else."""
        await self.commit_calls((), release=release, attempt=attempt)

    def _claim_fields(self) -> dict[str, Any]:
        return {
            "task_id": self.claim.task_id,
            "epoch": self.claim.epoch,
            "sequence": self.sequence,
        }

    async def _commit(self, entry: Entry) -> None:
        self.sequence = await self.journal.commit(entry)
        self.attempt = entry.attempt
        if entry.release is not None:
            self._log(entry.release)

    def _log(self, release: Release) -> None:
        if not release.status.terminal:
            log_let_go(reason=release.reason, wait=release.wait or 0.0)
            return
        spent = self.transcript.spent
        log_end(
            status=release.status.value,
            reason=release.stop_reason.value if release.stop_reason else "",
            project_id=self.project_id,
            run=self.run_number,
            steps=self.transcript.steps,
            tool_calls=self.transcript.tool_calls,
            tokens=spent.tokens,
            cost_usd=None if spent.cost_unknown else spent.cost_usd,
            seconds=self.time - self.transcript.started,
        )


def _sends(call: Call) -> bool:
    return call.state is CallState.STARTED and call.to_server


def _new_call(call: Call) -> NewCall:
    return NewCall(
        id=uuid.UUID(call.key),
        index=call.index,
        call_id=call.request.call_id[:200],
        name=call.request.name[:200],
        server=call.tool.server if call.tool else "",
        tool=(call.tool.tool if call.tool else "")[:200],
        arguments=call.request.arguments,
        repeatable=call.tool.repeatable if call.tool else True,
        refused=call.refused,
        state=call.state,
        result=call.result.text if call.result else None,
    )


def _change(call: Call) -> CallChange:
    return CallChange(
        id=uuid.UUID(call.key),
        state=call.state,
        result=call.result.text if call.result else None,
    )
