"""What a run may use up. Checked before it is spent."""

from __future__ import annotations

from dataclasses import dataclass

from agent_runtime.messages import Usage

MAX_PARALLEL_CALLS = 8  # tool calls of one response on the wire at once
MAX_CONTINUATIONS = 3  # times that an answer cut off by length is asked to go on
NUDGE_AT_REPEATS = 3  # identical calls with identical results: a word to the model
STOP_AT_REPEATS = 5  # and the end of the run


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one run; None where nothing limits it. Tokens are input and output together."""

    max_steps: int
    max_tool_calls: int | None
    timeout_seconds: float
    max_tokens: int | None = None
    max_cost_usd: float | None = None


@dataclass(slots=True, kw_only=True)
class Spent:
    """What a run has used up of tokens and money so far."""

    tokens: int = 0
    cost_usd: float = 0.0
    max_call_cost_usd: float = 0.0
    cost_unknown: bool = False  # the provider gave none for a call

    def add(self, usage: Usage) -> None:
        """Count one call of the model."""
        self.tokens += usage.input_tokens + usage.output_tokens
        if usage.cost_usd is None:
            self.cost_unknown = True
            return
        self.cost_usd += usage.cost_usd
        self.max_call_cost_usd = max(self.max_call_cost_usd, usage.cost_usd)
