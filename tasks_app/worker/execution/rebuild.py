"""A claimed task out of its rows: read once, from here memory follows the rows."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from agent_runtime.mcp.access import ServerAccess
from agent_runtime.ports import ServerState
from agent_runtime.prompt import PromptFacts, SkillEntry, system_prompt
from caylex_project.db.clock import clock
from caylex_project.integrations.access import accesses_for
from caylex_project.integrations.bearer import in_a_thread
from caylex_project.integrations.renewal import InThread
from skills_app.operations import CatalogueEntry, catalogue
from tasks_app.models import AgentTask, ModelWindow, Step
from tasks_app.queries.history import History, history_of
from tasks_app.states import Status
from tasks_app.worker.claiming.claim import Claim
from tasks_app.worker.execution.windows import windows_of
from tasks_app.worker.journal.journal import Fenced


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedTask:
    """What the rows say of a claimed task, and whom it may talk to."""

    task: AgentTask
    history: History
    windows: Sequence[ModelWindow]
    accesses: Sequence[ServerAccess] = field(repr=False)
    skills: Sequence[CatalogueEntry]

    @property
    def steps(self) -> Sequence[Step]:
        """The steps of all runs."""
        return self.history.steps

    @property
    def revisions(self) -> Mapping[str, str]:
        """Skill id to the revision that this run keeps."""
        first = first_step(self.task, self.steps)
        if first is not None:
            revisions: Mapping[str, str] = first.request["revisions"]
            return revisions
        return {str(entry.id): str(entry.revision_id) for entry in self.skills}


def load_task(claim: Claim) -> LoadedTask:
    """Read a claimed task. Raises Fenced when it is no longer ours."""
    try:
        return load_tasks([claim])[claim.task_id]
    except KeyError:
        raise Fenced(str(claim.task_id)) from None


def load_tasks(
    claims: Sequence[Claim], *, in_thread: InThread = in_a_thread
) -> dict[uuid.UUID, LoadedTask]:
    """Read claimed tasks, by id; those that are no longer ours are left out.

    What tasks of one project, navigator and user have in common is read once. `in_thread` is
    where their OAuth tokens are renewed.
    """
    epochs = {claim.task_id: claim.epoch for claim in claims}
    rows = AgentTask.objects.select_related("project", "navigator", "end_user").filter(
        pk__in=epochs, status=Status.RUNNING
    )
    tasks = [task for task in rows if task.epoch == epochs[task.id]]
    begun = set(Step.objects.filter(task__in=tasks).values_list("task_id", flat=True).distinct())
    windows = windows_of({task.model for task in tasks})
    entries: dict[tuple[uuid.UUID, ...], list[CatalogueEntry]] = {}
    accesses: dict[tuple[uuid.UUID, ...], list[ServerAccess]] = {}
    found = {}
    for task in tasks:
        place = (task.project_id, task.navigator_id)
        if place not in entries:
            entries[place] = catalogue(project=task.project, navigator=task.navigator)
        person = (*place, task.end_user_id)
        if person not in accesses:
            accesses[person] = accesses_for(
                project=task.project,
                navigator=task.navigator,
                end_user=task.end_user,
                in_thread=in_thread,
            )
        found[task.id] = LoadedTask(
            task=task,
            history=history_of(task) if task.id in begun else History(),
            windows=[each for each in windows if each.model == task.model],
            accesses=accesses[person],
            skills=entries[place],
        )
    return found


def first_step(task: AgentTask, steps: Sequence[Step]) -> Step | None:
    """Return the first step of the current run, where what is fixed for the run stands."""
    of_run = (step for step in steps if step.run_number == task.run_number and step.index == 1)
    return next(of_run, None)


def pinned_system_prompt(loaded: LoadedTask, servers: Sequence[ServerState]) -> str:
    """Return the run's system prompt: as stored with its first step, or made now."""
    first = first_step(loaded.task, loaded.steps)
    if first is not None:
        return str(first.request["system"])
    project = loaded.task.project
    return system_prompt(
        PromptFacts(
            now=clock.now().astimezone(ZoneInfo(project.timezone)),
            timezone=project.timezone,
            project=project.name,
            instructions=project.instructions,
            user_email=loaded.task.end_user.email,
            servers=servers,
            skills=[
                SkillEntry(id=str(each.id), name=each.name, description=each.description)
                for each in loaded.skills
            ],
        )
    )


def revision_of(revisions: Mapping[str, str], skill_id: str) -> uuid.UUID | None:
    """Return the revision of a skill that a run keeps, or None for an unknown skill."""
    found = revisions.get(skill_id)
    return uuid.UUID(found) if found else None
