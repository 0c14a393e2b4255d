"""What the tasks of one worker process share: the model, and the way to the tools."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from functools import partial

from django.conf import settings

from agent_runtime.llm.chat_completions import OpenRouter
from agent_runtime.mcp.cache import CatalogueCache
from agent_runtime.mcp.toolset import McpTools
from agent_runtime.net.address_guard import AddressGuard
from agent_runtime.ports import Model
from caylex_project.environment import Environment
from skills_app.operations import SkillText, skill_body, skill_file
from tasks_app.queries.run_transcript import transcript_of
from tasks_app.worker.claiming.claim import Claim
from tasks_app.worker.database import Database
from tasks_app.worker.execution.active_task import Held
from tasks_app.worker.execution.change_notifier import ChangeNotifier
from tasks_app.worker.execution.control import Board
from tasks_app.worker.execution.loader import Reader
from tasks_app.worker.execution.rebuild import Record, fixed_prompt, revision_of
from tasks_app.worker.execution.toolbox import Toolbox
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
    board: Board = field(default_factory=Board)
    reader: Reader = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reader", Reader(self.database))

    @classmethod
    def from_settings(cls) -> Resources:
        """Return the resources as the settings say."""
        environment: Environment = settings.ENVIRONMENT
        database = Database()
        notifier = ChangeNotifier()
        return cls(
            environment=environment,
            model=OpenRouter(
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

    async def take(self, claim: Claim) -> Held:
        """Read a claimed task and open its tools. Raises Fenced when it is no longer ours."""
        record = await self.reader.read(claim)
        toolbox = self._toolbox(record)
        await toolbox.open()
        try:
            return self._hold(claim, record, toolbox)
        except BaseException:
            await toolbox.close()
            raise

    def _hold(self, claim: Claim, record: Record, toolbox: Toolbox) -> Held:
        system = fixed_prompt(record, toolbox.servers)
        held = Held(
            claim=claim,
            project_id=record.task.project_id,
            model=record.task.model,
            run_number=record.task.run_number,
            transcript=transcript_of(record.task, record.steps, system=system),
            toolbox=toolbox,
            journal=self.journal,
            sequence=record.task.sequence,
            attempt=record.task.attempt,
            fixed={"system": system, "revisions": record.revisions},
        )
        if record.task.cancel_requested_at:
            held.cancel(record.task.cancel_reason)
        elif record.task.end_user.disabled_at is not None:  # claimed before it could be cancelled
            held.cancel(USER_DISABLED)
        return held

    def _toolbox(self, record: Record) -> Toolbox:
        revisions = record.revisions  # and no more of the record, which is not to live as long

        async def read_skill(skill_id: str, path: str | None) -> SkillText | None:
            revision = revision_of(revisions, skill_id)
            if revision is None:
                return None
            return await self.database.insist(_read_skill, revision, path)

        return Toolbox(
            servers=McpTools(
                accesses=record.accesses,
                guard=self.guard,
                call_timeout=self.environment.caylex_tool_timeout_seconds,
                catalogues=self.catalogues,
            ),
            read_skill=read_skill,
            has_skills=bool(revisions),
            is_paused=partial(self.board.server_is_paused, record.task.project_id),
        )

    async def close(self) -> None:
        """Close what is open."""
        close = getattr(self.model, "close", None)
        if close:
            await close()
        if self.notifier is not None:
            await self.notifier.close()
        self.database.close()


def _read_skill(revision: uuid.UUID, path: str | None) -> SkillText | None:
    if path is not None:
        return skill_file(revision, path)
    body = skill_body(revision)
    return None if body is None else SkillText(body)
