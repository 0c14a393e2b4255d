"""What the tasks of one worker process share: the model, and the way to the tools."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.conf import settings

from agent_runtime.llm.chat_completions import ChatCompletionsModel
from agent_runtime.mcp.cache import CatalogueCache
from agent_runtime.mcp.toolset import McpTools
from agent_runtime.messages import ToolResult
from agent_runtime.net.address_guard import AddressGuard
from agent_runtime.ports import Model
from caylex_project.db.clock import clock
from caylex_project.environment import Environment
from skills_app.operations import SkillText, skill_body, skill_file
from tasks_app.queries.run_transcript import transcript_of
from tasks_app.states import OnAuthentication
from tasks_app.worker.claiming.claim import Claim
from tasks_app.worker.database import Database
from tasks_app.worker.execution.active_task import ActiveTask, Connections
from tasks_app.worker.execution.change_notifier import ChangeNotifier
from tasks_app.worker.execution.control import ControlState
from tasks_app.worker.execution.loader import TaskLoader
from tasks_app.worker.execution.rebuild import LoadedTask, pinned_system_prompt, revision_of
from tasks_app.worker.execution.toolbox import Toolbox
from tasks_app.worker.execution.whole_results import read_result
from tasks_app.worker.execution.windows import Windows, keep_learned, keep_told, not_asked_lately
from tasks_app.worker.journal.journal import Journal

USER_DISABLED = "The end user was disabled."


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Made on the event loop that uses them; `close` ends what they hold open."""

    environment: Environment
    model: Model
    guard: AddressGuard
    catalogues: CatalogueCache
    database: Database
    journal: Journal
    notifier: ChangeNotifier | None = None
    control: ControlState = field(default_factory=ControlState)
    loader: TaskLoader = field(init=False)
    windows: Windows = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "loader", TaskLoader(self.database))
        windows = Windows(set_by_operator=self.environment.context_tokens)
        object.__setattr__(self, "windows", windows)

    @classmethod
    def from_settings(cls) -> Resources:
        """Return the resources as the settings say."""
        environment: Environment = settings.ENVIRONMENT
        database = Database()
        notifier = ChangeNotifier()
        return cls(
            environment=environment,
            model=ChatCompletionsModel(
                base_url=environment.openrouter_base_url,
                api_key=environment.openrouter_api_key.get_secret_value(),
                stall_seconds=environment.caylex_model_stall_seconds,
            ),
            guard=AddressGuard.of(networks=environment.caylex_private_networks),
            catalogues=CatalogueCache(),
            database=database,
            journal=Journal(database, notify=notifier.notify),
            notifier=notifier,
        )

    async def activate(self, claim: Claim) -> ActiveTask:
        """Read a claimed task and open its tools. Raises Fenced when it is no longer ours."""
        loaded = await self.loader.load(claim)
        toolbox = self._toolbox(loaded)
        await toolbox.open()
        try:
            return self._active_task(claim, loaded, toolbox)
        except BaseException:
            await toolbox.close()
            raise

    def _active_task(self, claim: Claim, loaded: LoadedTask, toolbox: Toolbox) -> ActiveTask:
        system = pinned_system_prompt(loaded, toolbox.servers)
        self.windows.note(loaded.windows, now=clock.now())
        active = ActiveTask(
            claim=claim,
            project_id=loaded.task.project_id,
            model=loaded.task.model,
            run_number=loaded.task.run_number,
            transcript=transcript_of(loaded.task, loaded.history, system=system),
            toolbox=toolbox,
            journal=self.journal,
            sequence=loaded.task.sequence,
            attempt=loaded.task.attempt,
            pinned={"system": system, "revisions": loaded.revisions},
            windows=self.windows,
            learn=self._learn_window,
            summaries=loaded.task.summaries_made,
            most_kept=self.environment.caylex_result_bytes,
            connections=_connections(loaded),
        )
        active.transcript.context.tools_size = toolbox.size
        if loaded.task.cancel_requested_at:
            active.cancel(loaded.task.cancel_reason)
        elif loaded.task.end_user.disabled_at is not None:  # claimed before it could be cancelled
            active.cancel(USER_DISABLED)
        return active

    async def _learn_window(self, model: str, tokens: int) -> None:
        """Keep a window that a run has found, for all processes."""
        now = clock.now()
        rows = await self.database.run_with_retry(keep_learned, model=model, tokens=tokens, now=now)
        self.windows.note(rows, now=now)

    async def ask_windows(self) -> None:
        """Ask the provider for the windows of the allowed models, at most once a day.

        Raises ModelUnavailable, DatabaseAway.
        """
        ask = getattr(self.model, "windows", None)
        models = self.environment.caylex_allowed_models
        now = clock.now()
        if ask is None or not await self.database.run(not_asked_lately, models=models, now=now):
            return
        told = await ask()
        rows = await self.database.run(keep_told, windows=told, models=models, now=now)
        self.windows.note(rows, now=now)

    def _toolbox(self, loaded: LoadedTask) -> Toolbox:
        revisions = loaded.revisions  # and no more of the record, which is not to live as long

        async def read_skill(skill_id: str, path: str | None) -> SkillText | None:
            revision = revision_of(revisions, skill_id)
            if revision is None:
                return None
            return await self.database.run_with_retry(_read_skill, revision, path)

        task_id = loaded.task.id

        async def answer_read_result(arguments: Mapping[str, Any]) -> ToolResult:
            return await self.database.run_with_retry(read_result, task_id, arguments)

        return Toolbox(
            servers=McpTools(
                accesses=loaded.accesses,
                guard=self.guard,
                call_timeout=self.environment.caylex_tool_timeout_seconds,
                catalogues=self.catalogues,
            ),
            read_skill=read_skill,
            read_result=answer_read_result,
            has_skills=bool(revisions),
            is_paused=partial(self.control.server_is_paused, loaded.task.project_id),
        )

    async def close(self) -> None:
        """Close what is open."""
        close = getattr(self.model, "close", None)
        if close:
            await close()
        if self.notifier is not None:
            await self.notifier.close()
        self.database.close()


def _connections(loaded: LoadedTask) -> Connections:
    task = loaded.task
    return Connections(
        user=task.end_user.email,
        versions={each.name: each.credential_version for each in loaded.accesses if each.personal},
        needed=tuple(task.authentication_needed),
        waits=task.on_authentication == OnAuthentication.WAIT,
        wait_until=task.connection_wait_until,
    )


def _read_skill(revision: uuid.UUID, path: str | None) -> SkillText | None:
    if path is not None:
        return skill_file(revision, path)
    body = skill_body(revision)
    return None if body is None else SkillText(body)
