"""What a run may use up. Checked before it is spent."""

from __future__ import annotations

from dataclasses import dataclass

MAX_PARALLEL_CALLS = 8  # tool calls of one response on the wire at once
MAX_CONTINUATIONS = 3  # times that an answer cut off by length is asked to go on
NUDGE_AT_REPEATS = 3  # identical calls with identical results: a word to the model
STOP_AT_REPEATS = 5  # and the end of the run


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one run; `max_tool_calls` is None where nothing limits it."""

    max_steps: int
    max_tool_calls: int | None
    timeout_seconds: float
