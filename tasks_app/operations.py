"""What can be done with tasks. Views, admin actions and commands call these."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from django.db import transaction

from agent_runtime.endings import SENTENCES, StopReason
from agent_runtime.limits import Limits
from caylex_project.accounts.end_users import end_user
from caylex_project.accounts.models import Navigator
from caylex_project.accounts.project_limits import ProjectLimits
from skills_app.operations import ResolvedSkill, resolve_skill
from tasks_app.doorbell import knock
from tasks_app.models import AgentTask, Event
from tasks_app.states import Status, check_transition
from tasks_app.stopping import end_cancelled

LIMITS_SCHEMA = 1
MAX_REFUSED_ID = 200  # characters of a refused model id that the warning repeats


MAX_REASON = 500  # characters of a cancel's reason that are kept

_FRESH_RUN: dict[str, Any] = {  # what a run starts with, whatever the last one left
    "status": Status.PENDING,
    "attempt": 0,
    "crashes": 0,
    "waiting_reason": "",
    "cancel_requested_at": None,
    "cancel_reason": "",
    "stop_reason": "",
    "report": None,
    "final_report_produced": None,
    "error": None,
    "started_at": None,
    "completed_at": None,
}


class TaskNotFound(Exception):
    """There is no such task, or it is another tenant's."""


class RetryRefused(Exception):
    """The task's state does not allow a retry; `str()` says why."""


class SkillNotFound(Exception):
    """The project has no such skill, and neither has the navigator; no task was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a caller asks for; None where the caller did not say."""

    user_email: str
    prompt: str
    skill_ref: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """What the caller is told of the new task."""

    task_id: uuid.UUID
    model: str
    model_warning: str | None
    skill: dict[str, str] | None
    skill_warning: str | None


def submit(*, navigator: Navigator, submission: Submission, now: datetime.datetime) -> Submitted:
    """Make a task and ring the doorbell, in one transaction; returns after the commit.

    `navigator` has its project loaded.

    Raises SkillNotFound; EmailRefused where the address is none.
    """
    skill = _required_skill(navigator=navigator, ref=submission.skill_ref)
    model, model_warning = choose_model(
        asked=submission.model,
        configured=navigator.model or settings.ENVIRONMENT.caylex_default_model,
        allowed=settings.ENVIRONMENT.caylex_allowed_models,
    )
    required = None if skill is None else skill_as_json(skill)
    with transaction.atomic():
        task = AgentTask.objects.create(
            tenant_id=navigator.project.tenant_id,
            project=navigator.project,
            navigator=navigator,
            end_user=end_user(project=navigator.project, email=submission.user_email),
            prompt=submission.prompt,
            model=model,
            required_skill=required,
            limits=limits_as_json(resolve_limits(project=navigator.project.limits)),
            status=Status.PENDING,
            next_attempt_at=now,
            created_at=now,
        )
        knock(task_id=task.id)
    return Submitted(
        task_id=task.id,
        model=model,
        model_warning=model_warning,
        skill=required,
        skill_warning=None if skill is None else skill.warning,
    )


def cancel(
    *, task_id: uuid.UUID, tenant_id: uuid.UUID | None, reason: str, now: datetime.datetime
) -> bool:
    """Stop a task; True when it was not over yet. Asking again changes nothing.

    A task that waits ends here and now. One that runs is marked: its owner ends it within two
    seconds, and where no owner answers the sweep does. `tenant_id` None means any tenant's.
    Raises TaskNotFound.
    """
    with transaction.atomic():
        task = _locked(task_id, tenant_id)
        if Status(task.status).terminal:
            return False
        if task.cancel_requested_at is None:
            task.cancel_requested_at = now
            task.cancel_reason = reason[:MAX_REASON]
            task.save(update_fields=["cancel_requested_at", "cancel_reason"])
        if task.status == Status.PENDING:
            end_cancelled(task, now=now)
    return True


def retry(*, task_id: uuid.UUID, tenant_id: uuid.UUID | None, now: datetime.datetime) -> None:
    """Start the next run of a FAILED or INCOMPLETE task, from its last completed step.

    What the last run ended with is cleared, the model is told why it ended, attempts and limits
    count afresh. Raises TaskNotFound, and RetryRefused where the task is in another state.
    """
    with transaction.atomic():
        task = _locked(task_id, tenant_id)
        if task.status not in (Status.FAILED, Status.INCOMPLETE):
            raise RetryRefused(
                f"Only a FAILED or INCOMPLETE task can be retried, not {task.status}."
            )
        check_transition(Status(task.status), Status.PENDING)
        note = _retry_note(task)
        AgentTask.objects.filter(pk=task.pk).update(
            **_FRESH_RUN,
            run_number=task.run_number + 1,
            sequence=task.sequence + 1,
            next_attempt_at=now,
            opening_notes=[note],
        )
        Event.objects.create(
            task=task,
            sequence=task.sequence + 1,
            kind="retried",
            data={"status": Status.PENDING.value, "run_number": task.run_number + 1},
            at=now,
        )
        knock(task_id=task.id)


def _locked(task_id: uuid.UUID, tenant_id: uuid.UUID | None) -> AgentTask:
    tasks = AgentTask.objects.select_for_update(no_key=True).filter(pk=task_id)
    task = (tasks.filter(tenant_id=tenant_id) if tenant_id else tasks).first()
    if task is None:
        raise TaskNotFound
    return task


def _retry_note(task: AgentTask) -> str:
    why = SENTENCES[StopReason(task.stop_reason)]
    detail = f" ({task.error})" if task.error else ""
    return (
        f"The last run of this task ended because {why}{detail}. It is being continued: go on from "
        "where it stopped, do not repeat what was done, and end with a full report."
    )


def _required_skill(*, navigator: Navigator, ref: str | None) -> ResolvedSkill | None:
    if ref is None:
        return None
    skill = resolve_skill(project=navigator.project, navigator=navigator, ref=ref)
    if skill is None:
        raise SkillNotFound
    return skill


def skill_as_json(skill: ResolvedSkill) -> dict[str, str]:
    """Return the skill as the task's row keeps it and the answers show it."""
    return {
        "id": str(skill.id),
        "name": skill.name,
        "slug": skill.slug,
        "source": str(skill.source),
    }


def choose_model(
    *, asked: str | None, configured: str, allowed: Sequence[str]
) -> tuple[str, str | None]:
    """Return the model that will be used, and a warning where it is not the one asked for."""
    if asked is None or asked == configured or asked in allowed:
        return asked or configured, None
    shown = asked if len(asked) <= MAX_REFUSED_ID else f"{asked[:MAX_REFUSED_ID]}..."
    return configured, (
        f"The model '{shown}' is not allowed; '{configured}' is used instead. "
        f"Allowed models: {', '.join(allowed)}."
    )


def resolve_limits(*, project: dict[str, Any]) -> Limits:
    """Return the limits of a run: the service's, capped by the project's."""
    caps = ProjectLimits.model_validate(project)
    environment = settings.ENVIRONMENT
    return Limits(
        max_steps=min(environment.caylex_max_steps, caps.max_steps or environment.caylex_max_steps),
        max_tool_calls=caps.max_tool_calls,
        timeout_seconds=min(
            environment.caylex_task_timeout_seconds,
            caps.timeout_seconds or environment.caylex_task_timeout_seconds,
        ),
    )


def limits_as_json(limits: Limits) -> dict[str, Any]:
    """Return the limits as the task's row keeps them."""
    return {"schema": LIMITS_SCHEMA, **asdict(limits)}
