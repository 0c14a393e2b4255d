"""Taking a task on."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from django.conf import settings
from django.db import transaction

from caylex_project.accounts.end_users import end_user
from caylex_project.accounts.limits import RunLimits
from caylex_project.accounts.models import Navigator
from skills_app.operations import ResolvedSkill, resolve_skill
from tasks_app.models import AgentTask
from tasks_app.notifications.wakeup import send_wakeup
from tasks_app.operations.enabled import check_enabled
from tasks_app.operations.limits import NONE_ASKED, limits_as_json, resolve_limits
from tasks_app.operations.metadata import index_metadata
from tasks_app.operations.pending import check_pending
from tasks_app.operations.webhooks import TaskWebhook, check_webhook
from tasks_app.states import OnAuthentication, Status

MAX_REFUSED_ID = 200  # characters of a refused model id that the warning repeats


class SkillNotFound(Exception):
    """The project has no such skill, and neither has the navigator; no task was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a caller asks for; None where the caller did not say."""

    user_email: str
    prompt: str
    skill_ref: str | None = None
    model: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    limits: RunLimits = NONE_ASKED
    rerun_of: uuid.UUID | None = None
    webhook: TaskWebhook | None = None
    priority: int = 0
    on_authentication: OnAuthentication = OnAuthentication.CONTINUE


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """What the caller is told of the new task."""

    task_id: uuid.UUID
    model: str
    model_warning: str | None
    skill: dict[str, str] | None
    skill_warning: str | None
    webhook_warning: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as it is kept beside an idempotency key."""
        return {**asdict(self), "task_id": str(self.task_id)}

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Submitted:
        """Return what is kept beside an idempotency key."""
        return cls(**{**kept, "task_id": uuid.UUID(kept["task_id"])})


def submit(*, navigator: Navigator, submission: Submission, now: datetime.datetime) -> Submitted:
    """Make a task and ring the doorbell, in one transaction; returns after the commit.

    `navigator` has its project and tenant loaded.

    Raises SkillNotFound, WebhookRefused, ScopeDisabled, TooManyPending; EmailRefused where the
    address is none.
    """
    warning = check_webhook(submission.webhook)
    return create_task(navigator=navigator, submission=submission, webhook_warning=warning, now=now)


def create_task(
    *,
    navigator: Navigator,
    submission: Submission,
    webhook_warning: str | None,
    now: datetime.datetime,
) -> Submitted:
    """Submit what `check_webhook` has let through: for a caller with a transaction of its own."""
    check_enabled(project=navigator.project)
    skill = _required_skill(navigator=navigator, ref=submission.skill_ref)
    model, model_warning = choose_model(
        asked=submission.model,
        configured=navigator.model or settings.ENVIRONMENT.caylex_default_model,
        allowed=settings.ENVIRONMENT.caylex_allowed_models,
    )
    required = None if skill is None else skill_as_json(skill)
    with transaction.atomic(savepoint=False):  # who has one open undoes all of it
        user = end_user(project=navigator.project, email=submission.user_email)
        check_enabled(project=navigator.project, end_user=user)
        check_pending(project=navigator.project, end_user_id=user.pk)
        task = AgentTask.objects.create(
            tenant_id=navigator.project.tenant_id,
            project=navigator.project,
            navigator=navigator,
            end_user=user,
            prompt=submission.prompt,
            model=model,
            priority=submission.priority,
            on_authentication=submission.on_authentication,
            required_skill=required,
            skill_slug="" if skill is None else skill.slug,
            metadata=dict(submission.metadata),
            webhook=None if submission.webhook is None else submission.webhook.as_json(),
            limits=limits_as_json(
                resolve_limits(project=navigator.project.limits, asked=submission.limits)
            ),
            rerun_of_id=submission.rerun_of,
            status=Status.PENDING,
            next_attempt_at=now,
            created_at=now,
        )
        index_metadata(task, keys=submission.metadata)
        send_wakeup(task_id=task.id)
    return Submitted(
        task_id=task.id,
        model=model,
        model_warning=model_warning,
        skill=required,
        skill_warning=None if skill is None else skill.warning,
        webhook_warning=webhook_warning,
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
