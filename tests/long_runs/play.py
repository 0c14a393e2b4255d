"""A long run on the real database, driven by workers that may be killed at any request."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable
from dataclasses import dataclass, field

from django.utils import timezone

from agent_runtime.llm.chat_completions import ChatCompletionsModel
from agent_runtime.testing import FakeTools
from tasks_app.models import AgentTask
from tasks_app.states import WorkerState
from tasks_app.worker.claiming.claim import Claim
from tasks_app.worker.database import Database
from tasks_app.worker.execution.windows import Windows, keep_told
from tasks_app.worker.journal.journal import Journal
from tasks_app.worker.maintenance.reclaim import end_worker
from tests.long_runs.stage import SKILL_WORD, TASK_WORD
from tests.support.engine_rows import LIMITS, a_driver, a_task, a_worker, claim_all, take
from tests.support.factories import SkillFactory
from tests.support.model_server import Hold, Recorded, Reply, ScriptedModel
from tests.unit.llm.conftest import KEY

MODEL = "test/model"
SKILL_BODY = "Follow the chain to its end. {id} " + SKILL_WORD
MANY = {**LIMITS, "max_steps": 2_000}


def new_task() -> AgentTask:
    """Write a task with a required skill and no near limit."""
    task = a_task(model=MODEL, limits=MANY, prompt=f"Follow the chain. The word: {TASK_WORD}.")
    skill = SkillFactory.create(project=task.project)
    task.required_skill = {
        "id": str(skill.pk),
        "name": "chain",
        "slug": skill.slug,
        "source": "project",
    }
    task.save()
    return task


@dataclass(kw_only=True)
class Play:
    """`answer` is the model; `kills` says of which requests, from 0, no answer ever comes.

    A worker that waits for one of these is killed, and another one takes the task: without
    anything of its memory. `pairs` are the bodies of both workers' requests.
    """

    database: Database
    answer: Callable[[Recorded], Reply]
    tools: FakeTools
    windows: Reply | None = None  # the provider's list of models
    kills: Callable[[int, Recorded], bool] = lambda number, request: False
    pairs: list[tuple[bytes, bytes]] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    _number: int = 0
    _held_up: bytes | None = None
    _kill: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.AbstractEventLoop | None = None

    async def perform(self, task: AgentTask) -> AgentTask:
        """Drive the task to its end; return it as it stands then."""
        self._loop = asyncio.get_running_loop()
        with ScriptedModel(answer=self._reply) as server:
            if self.windows is not None:
                await self._tell_windows(server)
            while not await self._life(server.base_url):
                pass
        await self.database.run(task.refresh_from_db)
        return task

    async def _tell_windows(self, server: ScriptedModel) -> None:
        """Do what a worker does beside its work: ask the provider and keep what it tells."""
        assert self.windows is not None
        server.models = self.windows
        model = ChatCompletionsModel(base_url=server.base_url, api_key=KEY, stall_seconds=20)
        told = await model.windows()
        await model.close()
        await self.database.run(keep_told, windows=told, models=[MODEL], now=timezone.now())

    def _reply(self, request: Recorded) -> Reply:
        if self._held_up is not None:
            self.pairs.append((self._held_up, request.body))
            self._held_up = None
        elif self.kills(self._number, request):
            self._held_up = request.body
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._kill.set)
            return Reply([Hold()])
        self._number += 1
        self.requests.append(request.body)
        return self.answer(request)

    async def _life(self, base_url: str) -> bool:
        """Let one worker drive the task; True when the task was let go by it."""
        (claim,) = await self.database.run(lambda: claim_all(a_worker()))
        model = ChatCompletionsModel(base_url=base_url, api_key=KEY, stall_seconds=20)
        held = await take(
            self.database, claim, self.tools, Journal(self.database), Windows(), skill=SKILL_BODY
        )
        self._kill.clear()
        driving = asyncio.create_task(a_driver(model).drive(held))
        killed = asyncio.create_task(self._kill.wait())
        await asyncio.wait([driving, killed], return_when=asyncio.FIRST_COMPLETED)
        killed.cancel()
        if driving.done():
            driving.result()
            await model.close()
            return True
        driving.cancel()
        await asyncio.wait([driving])
        await model.close()
        await self.database.run(self._bury, claim)
        return False

    def _bury(self, claim: Claim) -> None:
        worker = AgentTask.objects.get(pk=claim.task_id).worker
        assert worker is not None
        end_worker(worker_id=worker.pk, state=WorkerState.DEAD, now=timezone.now())
        AgentTask.objects.filter(pk=claim.task_id).update(
            next_attempt_at=timezone.now() - datetime.timedelta(seconds=1), crashes=0
        )
