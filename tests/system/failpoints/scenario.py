"""A scripted task, played to its end by one worker after another; each may die at a commit.

The worker is the real one from the claim to its end, with a model and tools that are
functions. What it leaves behind is swept as by any other worker.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils import timezone

from agent_runtime.errors import ModelRefused, ModelUnavailable
from agent_runtime.messages import CallState, ModelAnswer, ToolResult
from agent_runtime.ports import ModelRequest
from agent_runtime.testing import FakeTools, text_response, tool_call_response
from caylex_project.accounts.models import Navigator
from tasks_app.models import AgentTask, Worker
from tasks_app.operations import cancel as stop
from tasks_app.operations import runs
from tasks_app.operations.submit import Submission
from tasks_app.operations.submit import submit as submit_task
from tasks_app.states import Status, WorkerState
from tasks_app.worker.claiming.claim import Claim
from tasks_app.worker.database import Database
from tasks_app.worker.journal.journal import Journal
from tasks_app.worker.journal.write import write_entries
from tasks_app.worker.maintenance.reclaim import end_worker
from tasks_app.worker.maintenance.sweep import sweep
from tests.support.engine_rows import a_driver, a_worker, claim_all, take
from tests.system.failpoints.switch import Failpoints, Killed

MAX_LIVES = 6
DIRECTED_TURN = 3  # in which something happens beside the script
PROMPT = "Do it."

SCRIPT = (
    tool_call_response(("fake__append", {"text": "one"}), ("fake__put", {"text": "two"})),
    tool_call_response(
        *[(f"fake__{'append' if n % 2 else 'put'}", {"text": f"many-{n}"}) for n in range(11)]
    ),
    tool_call_response(("fake__append", {"text": "three"}), ("fake__refuse", {"text": "no"})),
    tool_call_response(("fake__put", {"text": "four"}), ("fake__no_such_tool", {})),
    text_response("All is done."),
)


def turn_of(request: ModelRequest) -> int:
    """Return which turn the model is asked for, from 1."""
    return 1 + sum(b'"role":"assistant"' in message.wire for message in request.messages)


@dataclass
class Play:
    """One play. `direction` is what happens in the third turn, the first time that it is asked.

    `requests` are the model's, `sent` each line and key that reached a tool.
    """

    database: Database
    navigator: Navigator
    failpoints: Failpoints
    direction: str = ""
    burial: Failpoints = field(default_factory=Failpoints)  # of the sweeps alone
    requests: list[tuple[int, Sequence[bytes]]] = field(default_factory=list)
    sent: list[tuple[str, str]] = field(default_factory=list)
    deaths: int = 0
    _directed: bool = False
    _draining: asyncio.Event | None = None

    async def perform(self) -> AgentTask:
        """Submit the task and let workers live until it has ended; return it."""
        task = await self._submit()
        for _ in range(MAX_LIVES):
            try:
                await self._live()
            except Killed:
                self.deaths += 1
                await self.database.run(self._bury)
            await self.database.run(task.refresh_from_db)
            if self.direction == "refused" and task.status == Status.FAILED:
                await self._retry(task)
            elif Status(task.status).terminal:
                return task
        raise AssertionError(f"It never ended: {task.status}, {self.failpoints.passed}")

    async def complete(self, request: ModelRequest) -> ModelAnswer:
        """Answer as the script says: the play is the model too."""
        turn = turn_of(request)
        self.requests.append((turn, [message.wire for message in request.messages]))
        if turn == DIRECTED_TURN and not self._directed:
            await self._direct()
        return SCRIPT[turn - 1]

    async def _direct(self) -> None:
        match self.direction:
            case "drained":
                assert self._draining is not None
                self._draining.set()
            case "cancelled":
                cancel = self.failpoints.at("cancel", self._cancel)
                await self.database.run(cancel)
                await asyncio.Event().wait()
            case "unavailable":
                self._directed = True
                raise ModelUnavailable("Busy.")
            case "refused":  # until the task is retried
                raise ModelRefused("Add credit.")
        self._directed = True

    async def _live(self) -> None:
        """The life of one worker, with this one task."""
        worker = await self.database.run(lambda: a_worker(lease=900.0))
        claim_due = self.failpoints.at("claim", _claim_what_waits)
        for claim in await self.database.run(claim_due, worker):
            await self._drive(claim)
        end = self.failpoints.at("end worker", end_worker)
        await self.database.run(
            end, worker_id=worker.id, state=WorkerState.GONE, now=timezone.now()
        )

    async def _drive(self, claim: Claim) -> None:
        journal = Journal(self.database, write=self.failpoints.at("write", write_entries))
        held = await take(self.database, claim, self._tools(), journal)
        driver = a_driver(self)
        self._draining = driver.draining
        driving = asyncio.create_task(driver.drive(held))
        while not driving.done():
            if await self.database.run(_is_cancelled, claim):
                held.cancel("enough")
            await asyncio.wait({driving}, timeout=0.01)
        await driving

    def _tools(self) -> FakeTools:
        """Tools that keep what reached them; `refuse` answers with an error."""

        def keep(arguments: Mapping[str, Any]) -> str:
            line = str(arguments["text"])
            _, key, _ = tools.sent[-1]
            self.sent.append((line, key))
            return f"written: {line}"

        def refuse(arguments: Mapping[str, Any]) -> ToolResult:
            return ToolResult(text=f"refused: {keep(arguments)}", state=CallState.FAILED)

        tools = FakeTools(
            {"append": keep, "put": keep, "refuse": refuse}, repeatable=["put", "refuse"]
        )
        return tools

    async def _submit(self) -> AgentTask:
        """Submit as a backend does: what got no answer is submitted again if it is not there."""

        def submit() -> None:
            submission = Submission(user_email="jane@example.com", prompt=PROMPT)
            now = timezone.now()
            submit_task(navigator=self.navigator, submission=submission, now=now)

        try:
            await self.database.run(self.failpoints.at("submit", submit))
        except Killed:
            self.deaths += 1
            if not await self.database.run(AgentTask.objects.exists):
                await self.database.run(submit)
        return await self.database.run(AgentTask.objects.get)

    async def _retry(self, task: AgentTask) -> None:
        def retry() -> None:
            runs.retry(task_id=task.id, tenant_id=None, now=timezone.now())

        try:
            await self.database.run(self.failpoints.at("retry", retry))
        except Killed:
            self.deaths += 1
            await self.database.run(task.refresh_from_db)
            if task.status == Status.FAILED:
                await self.database.run(retry)
        self._directed = True

    @staticmethod
    def _cancel() -> None:
        task = AgentTask.objects.get()
        stop.cancel(task_id=task.id, tenant_id=None, reason="enough", now=timezone.now())

    def _bury(self) -> None:
        """Let the dead worker's lease run out, and sweep; another goes on if that one dies."""
        past = timezone.now() - datetime.timedelta(seconds=1)
        Worker.objects.filter(state=WorkerState.ALIVE).update(lease_until=past)
        try:
            self.burial.at("sweep", sweep)()
        except Killed:
            self.deaths += 1
            sweep()


def _claim_what_waits(worker: Worker) -> list[Claim]:
    """Claim, with every wait over."""
    AgentTask.objects.filter(status=Status.PENDING).update(next_attempt_at=timezone.now())
    return claim_all(worker)


def _is_cancelled(claim: Claim) -> bool:
    return AgentTask.objects.filter(pk=claim.task_id, cancel_requested_at__isnull=False).exists()
