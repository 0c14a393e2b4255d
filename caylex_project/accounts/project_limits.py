"""What a project's tasks may use up, as `Project.limits` holds it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1, le=1_000_000_000)]


class ProjectLimits(BaseModel):
    """The caps of a project; None is no cap. The last three bound each run's own limits."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_concurrent_tasks: Count | None = None
    max_concurrent_tasks_per_user: Count | None = None
    max_pending: Count | None = None
    max_steps: Count | None = None
    max_tool_calls: Count | None = None
    timeout_seconds: Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)] | None = None

    def as_json(self) -> dict[str, int | float]:
        """Return what is set, as `Project.limits` keeps it."""
        return self.model_dump(exclude_none=True)
