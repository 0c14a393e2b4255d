"""What is to become of a task that there is."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from tasks_app.api.requests.fields import (
    ONE_LINE,
    Changes,
    Instruction,
    Limits,
    one_line,
    pairs_schema,
)
from tasks_app.operations.cancel import MAX_REASON

Reason = Annotated[
    str,
    Field(min_length=1, max_length=MAX_REASON, pattern=r"\S", json_schema_extra=ONE_LINE),
    AfterValidator(one_line),
]


class CancelRequest(BaseModel):
    """Why a task is to stop; the body may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    reason: Reason | None = Field(
        default=None,
        description="Goes into the report. Not blank, no line breaks or other control characters.",
        examples=["Jane found the numbers herself."],
    )


class RetryRequest(BaseModel):
    """Limits of the run that begins; the body may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    limits: Limits = None


class ContinueRequest(RetryRequest):
    """A further instruction for a task that has ended."""

    message: Instruction = Field(
        description="What the agent is to do now. Not blank.",
        examples=["Now name the customers behind the billing tickets."],
    )


class RerunRequest(BaseModel):
    """Nothing so far; the body may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class MetadataRequest(BaseModel):
    """What is to change in a task's metadata."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    metadata: Annotated[Changes, WithJsonSchema(pairs_schema(of=["string", "null"]))] = Field(
        description="Keys to set, and with null those to remove; the others stay.",
        examples=[{"order": "18", "draft": None}],
    )
