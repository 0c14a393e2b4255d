"""One line in the log when a task starts or continues, and one when it ends or is let go."""

from __future__ import annotations

import uuid
from typing import Any

import structlog

log = structlog.get_logger(__name__)


def log_start(*, project_id: uuid.UUID, run: int, steps: int, model: str) -> None:
    """Write that a worker drives a task from here on; `steps` of this run are done."""
    event = "task.continued" if steps or run > 1 else "task.started"
    log.info(event, project=str(project_id), run=run, steps=steps, model=model)


def log_end(
    *,
    status: str,
    reason: str,
    project_id: uuid.UUID,
    run: int,
    steps: int,
    tool_calls: int,
    tokens: int,
    cost_usd: float | None,
    seconds: float,
    **more: Any,
) -> None:
    """Write that a task has ended; the counts and the duration are those of its last run."""
    log.info(
        "task.ended",
        status=status,
        reason=reason,
        project=str(project_id),
        run=run,
        steps=steps,
        tool_calls=tool_calls,
        tokens=tokens,
        cost_usd=None if cost_usd is None else round(cost_usd, 6),
        seconds=round(seconds, 1),
        **more,
    )


def log_let_go(*, reason: str, wait: float) -> None:
    """Write that a worker lets go of a task that has not ended; a reason is why it waits."""
    if reason:
        log.info("task.waiting", reason=reason, seconds=round(wait, 1))
    else:
        log.info("task.handed_back")
