"""The limits of a task's runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from django.conf import settings

from agent_runtime.limits import Limits
from caylex_project.accounts.limits import ProjectLimits, RunLimits

LIMITS_SCHEMA = 1
NONE_ASKED = RunLimits()
Number = TypeVar("Number", int, float)


def resolve_limits(*, project: Mapping[str, Any], asked: RunLimits) -> Limits:
    """Return the limits of a run: what was asked for, capped by the project's and the service's."""
    caps = ProjectLimits.model_validate(project)
    service = settings.ENVIRONMENT
    return Limits(
        max_steps=min(
            service.caylex_max_steps,
            _least(asked.max_steps, caps.max_steps) or service.caylex_max_steps,
        ),
        max_tool_calls=_least(asked.max_tool_calls, caps.max_tool_calls),
        max_tokens=_least(asked.max_tokens, caps.max_tokens),
        max_cost_usd=_least(asked.max_cost_usd, caps.max_cost_usd),
        timeout_seconds=min(
            service.caylex_task_timeout_seconds,
            _least(asked.timeout_seconds, caps.timeout_seconds)
            or service.caylex_task_timeout_seconds,
        ),
    )


def next_limits(*, last: Mapping[str, Any], asked: RunLimits) -> RunLimits:
    """Return what the run after one with the limits `last` asks for: what is not named stays."""
    absent = [name for name in RunLimits.model_fields if getattr(asked, name) is None]
    return asked.model_copy(update={name: last.get(name) for name in absent})


def limits_as_json(limits: Limits) -> dict[str, Any]:
    """Return the limits as the task's row keeps them."""
    return {"schema": LIMITS_SCHEMA, **asdict(limits)}


def _least(*values: Number | None) -> Number | None:
    return min((each for each in values if each is not None), default=None)
