"""How a run ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class StopReason(StrEnum):
    """Why a run ended."""

    FINAL_REPORT = "final_report"  # the agent reported that it is done
    AGENT_INCOMPLETE = "agent_incomplete"  # the agent could not, or would not, finish
    NO_FINAL_REPORT = "no_final_report"  # it stopped without a word; the engine wrote the report
    MAX_STEPS = "max_steps"  # limit on steps reached
    MAX_TOOL_CALLS = "max_tool_calls"  # limit on tool calls reached
    MAX_TOKENS = "max_tokens"  # limit on tokens reached
    MAX_COST = "max_cost"  # limit on cost reached, or no cost given to hold it by
    TIMEOUT = "timeout"  # the wall time since it started is used up
    LOOP_DETECTED = "loop_detected"  # the same call with the same result, again and again
    CONTEXT_FULL = "context_full"  # what must stay in sight does not fit the model's window
    CANCELLED = "cancelled"  # a person or a backend stopped it
    ERROR = "error"  # a fault, after its attempts


DESCRIPTIONS = {
    StopReason.FINAL_REPORT: "the agent finished",
    StopReason.AGENT_INCOMPLETE: "the agent could not finish",
    StopReason.NO_FINAL_REPORT: "the agent ended without a final report",
    StopReason.MAX_STEPS: "the limit on steps was reached",
    StopReason.MAX_TOOL_CALLS: "the limit on tool calls was reached",
    StopReason.MAX_TOKENS: "the limit on tokens was reached",
    StopReason.MAX_COST: "the limit on cost allows no further call of the model",
    StopReason.TIMEOUT: "the time limit was reached",
    StopReason.LOOP_DETECTED: "the agent repeated the same tool call with the same result",
    StopReason.CONTEXT_FULL: "the context does not fit the model's window any more",
    StopReason.CANCELLED: "the task was cancelled",
    StopReason.ERROR: "the task failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of a run. `report` is the agent's own words; None where it wrote none.

    `final` is False where those words are no final report: a refusal, or an answer that a filter
    ended. `detail` says more of the reason where there is more to say, such as why a person
    cancelled; `remark` is a note of the engine about the report itself.
    """

    completed: bool
    reason: StopReason
    report: str | None = None
    final: bool = True
    detail: str = ""
    remark: str = ""
