"""What a task's run may use up as somebody asks for it, and what a project's tasks may."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def whole(value: object) -> object:
    """Read 5.0 as 5: in JSON, and by its schemas, they are one number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[int, Field(ge=1, le=1_000_000_000), BeforeValidator(whole)]


class RunLimits(BaseModel):
    """What one run may use up. Null stands for absent: the project's and the service's hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_steps: Count | None = Field(default=None, description="Calls of the model.")
    max_tool_calls: Count | None = Field(
        default=None, description="Calls sent to servers, built-in tools not counted."
    )
    max_tokens: Count | None = Field(default=None, description="Input and output together.")
    max_cost_usd: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None = Field(
        default=None,
        description="Where the provider does not tell the cost, the run ends before its second "
        "call of the model.",
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)] | None = (
        Field(default=None, description="From when the run starts, waits for retries included.")
    )


class ProjectLimits(RunLimits):
    """The caps of a project, as `Project.limits` holds them; None is no cap."""

    max_concurrent_tasks: Count | None = None
    max_concurrent_tasks_per_user: Count | None = None
    max_pending: Count | None = None
    max_pending_per_user: Count | None = None

    def as_json(self) -> dict[str, int | float]:
        """Return what is set, as `Project.limits` keeps it."""
        return self.model_dump(exclude_none=True)
