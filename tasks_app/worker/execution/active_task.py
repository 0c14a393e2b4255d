"""A task in the hands of its owner: what is in memory, and how a change of it is committed."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent_runtime.context.window import WindowSource
from agent_runtime.messages import Call, CallState, Turn
from agent_runtime.transcript import MAX_KEPT, Transcript
from caylex_project.db.clock import clock as database_clock
from tasks_app.models.tasks import FIRST_SCHEMA, LONG_CONTEXT
from tasks_app.notifications.task_log import log_end, log_let_go
from tasks_app.queries.history import to_the_second
from tasks_app.worker.claiming.claim import Claim
from tasks_app.worker.execution.toolbox import Toolbox
from tasks_app.worker.execution.windows import Windows
from tasks_app.worker.journal.entries import (
    CallChange,
    Connecting,
    Entry,
    NewCall,
    NewStep,
    NewSummary,
    Release,
    Stopped,
)
from tasks_app.worker.journal.journal import Journal

Learn = Callable[[str, int], Awaitable[None]]


def _new_future() -> asyncio.Future[str]:
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True, kw_only=True)
class Connections:
    """What a run knows of the credentials of its user.

    `versions` holds, by server, the version of the credential that was looked at, of the servers
    that the user connects. `needed` are the servers to connect as the row has them, `found` those
    that were without a credential since the task was claimed. `wait_until` is where the run's
    wait ends, once it has begun.
    """

    user: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    waits: bool = False
    wait_until: datetime.datetime | None = None


@dataclass(slots=True, kw_only=True)
class ActiveTask:
    """One claimed task, made on the event loop.

    Of the row it keeps what is asked for while it runs, and no more: a thousand may be in hand.
    `sequence` and `attempt` follow the row; `pinned` is what a run's first step keeps for the
    whole run, the system prompt and the revisions of the skills, and goes with that step.
    `clock` tells the database's time. `cancelling` is done, with the reason, once the task is asked
    to stop. While `pausing` it is to be handed back. `windows` are those of all models, `learn`
    keeps one that was found in this run, `summaries` counts those that were asked for. `most_kept`
    bytes of a result are kept.
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
    windows: Windows = field(default_factory=Windows)
    learn: Learn | None = None
    summaries: int = 0
    most_kept: int = MAX_KEPT
    clock: Callable[[], datetime.datetime] = database_clock.now
    connections: Connections = field(default_factory=Connections)
    cancelling: asyncio.Future[str] = field(default_factory=_new_future)
    pausing: bool = False

    def use_window(self) -> None:
        """Take the window of the model as it is known now; a smaller one of this run stays."""
        context, known = self.transcript.context, self.windows.of(self.model)
        found_here = context.window.source is WindowSource.LEARNED
        if not (found_here and context.window.tokens <= known.tokens):
            context.window = known

    async def learn_window(self, tokens: int) -> None:
        """Use a smaller window from here on and keep it for all processes."""
        context = self.transcript.context
        if tokens >= context.window.tokens:
            return
        context.window = replace(context.window, tokens=tokens, source=WindowSource.LEARNED)
        if self.learn is not None:
            await self.learn(self.model, tokens)

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
        if turn.mark is not None:
            request["context"] = turn.mark.as_json()
        if turn.caller_notes:
            request["caller_notes"] = list(turn.caller_notes)
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
        await self._commit(
            Entry(
                **self._claim_fields(),
                at=at,
                progress=True,
                step=step,
                calls=tuple(_new_call(call) for call in turn.calls),
                sent_calls=sum(_sends(call) for call in turn.calls),
                release=release,
                schema=LONG_CONTEXT if turn.mark and turn.mark.masked else FIRST_SCHEMA,
            )
        )
        self.pinned = {}

    async def commit_calls(
        self, calls: Iterable[Call], *, release: Release | None = None, attempt: int = 0
    ) -> None:
        """Write the new states and results of calls, and the release if the task is let go.

        Raises Stopped where calls are STARTED and none may be.
        """
        changed, at = list(calls), self.clock()
        for call in changed:
            if call.state.ended:
                call.at = to_the_second(at)
        await self._commit(
            Entry(
                **self._claim_fields(),
                at=at,
                attempt=attempt,
                progress=any(call.state.ended for call in changed),
                changes=tuple(_change(call) for call in changed),
                sent_calls=sum(_sends(call) for call in changed),
                release=release,
            )
        )

    async def commit_summary(self, summary: NewSummary, *, release: Release | None) -> None:
        """Write a summary, which takes no step."""
        await self._commit(
            Entry(
                **self._claim_fields(),
                at=self.clock(),
                progress=True,
                summary=summary,
                release=release,
                schema=LONG_CONTEXT,
            )
        )
        self.summaries += 1

    async def release(self, release: Release, *, attempt: int = 0) -> None:
        """Write that the task is let go, and nothing else."""
        await self.commit_calls((), release=release, attempt=attempt)

    def unconnected(self) -> list[str]:
        """Return the servers that the user has to connect, and can."""
        return [each for each in self._needed() if each in self.connections.versions]

    def _needed(self) -> tuple[str, ...]:
        known = self.connections
        now = [each.name for each in self.toolbox.servers if each.needs_credential]
        known.found = tuple(dict.fromkeys((*known.found, *now)))
        return known.found

    def _claim_fields(self) -> dict[str, Any]:
        return {
            "task_id": self.claim.task_id,
            "epoch": self.claim.epoch,
            "sequence": self.sequence,
        }

    async def _commit(self, entry: Entry) -> None:
        needed, before = self._needed(), self.connections.needed
        if needed != before:
            entry = replace(entry, authentication_needed=needed)
        waits = entry.release is not None and entry.release.connection_wait_until is not None
        if waits or not set(needed) <= set(before):
            entry = replace(entry, connecting=self._connecting())
        self.sequence = await self.journal.commit(entry)
        self.connections.needed = needed
        self.attempt = entry.attempt
        if entry.release is not None:
            self._log(entry.release)

    def _connecting(self) -> Connecting:
        seen = {name: self.connections.versions[name] for name in self.unconnected()}
        return Connecting(needed=self._needed(), seen=seen, run_number=self.run_number)

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
    result = call.result
    if result is None:
        return CallChange(id=uuid.UUID(call.key), state=call.state)
    return CallChange(
        id=uuid.UUID(call.key),
        state=call.state,
        result=result.text,
        size=result.size or None,
        whole=result.whole,
        complete=result.complete,
    )
