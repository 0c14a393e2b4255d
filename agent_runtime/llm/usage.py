"""The usage that a provider reports, read tolerantly: an odd figure is no reason to lose an answer.

Source: OpenAI's API reference ("Chat completions") and OpenRouter's ("Usage accounting").
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from agent_runtime.messages import Usage

MAX_TOKENS_COUNTED = 10**12
MAX_COST = 1_000.0  # US dollars for one call; a task has room for less than a million


def _or_zero(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        return 0


def or_none(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Return the checked value, or None where it is not of the type."""
    try:
        return check(value)
    except ValidationError:
        return None


Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS_COUNTED), WrapValidator(_or_zero)]
Cost = Annotated[
    float | None, Field(ge=0, le=MAX_COST, allow_inf_nan=False), WrapValidator(or_none)
]


class _InputDetails(BaseModel):
    cached_tokens: Tokens = 0


class _OutputDetails(BaseModel):
    reasoning_tokens: Tokens = 0


class _CostDetails(BaseModel):
    upstream_inference_cost: Cost = None


class ReportedUsage(BaseModel):
    """The `usage` of a completion."""

    prompt_tokens: Tokens = 0
    completion_tokens: Tokens = 0
    prompt_tokens_details: Annotated[_InputDetails | None, WrapValidator(or_none)] = None
    completion_tokens_details: Annotated[_OutputDetails | None, WrapValidator(or_none)] = None
    cost: Cost = None
    is_byok: Annotated[bool | None, WrapValidator(or_none)] = None
    cost_details: Annotated[_CostDetails | None, WrapValidator(or_none)] = None

    def value(self) -> Usage:
        """Return the figures as the runtime counts them."""
        cost = self.cost
        if cost is not None and self.is_byok and self.cost_details is not None:
            # With a key of the customer's own at the model's maker, `cost` is the fee alone.
            cost += self.cost_details.upstream_inference_cost or 0.0
        incoming, outgoing = self.prompt_tokens_details, self.completion_tokens_details
        return Usage(
            input_tokens=self.prompt_tokens,
            output_tokens=self.completion_tokens,
            cached_input_tokens=incoming.cached_tokens if incoming else 0,
            reasoning_tokens=outgoing.reasoning_tokens if outgoing else 0,
            cost_usd=cost,
        )
