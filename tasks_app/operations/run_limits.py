"""The limits of a task's runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.conf import settings

from agent_runtime.limits import Limits
from caylex_project.accounts.project_limits import ProjectLimits

LIMITS_SCHEMA = 1


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
