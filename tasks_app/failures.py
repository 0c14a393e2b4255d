"""What is at the bottom of a task's ending, and what helps: told to staff beside its error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from agent_runtime.llm.errors import REFUSALS
from agent_runtime.outcome import StopReason

GIVEN_UP = "Given up after {attempt} attempts in a row."
BROKE = "An internal error stopped the task; the operator's log has it under the task's id."
FATAL = (
    "The task ended its worker process three times while it ran alone; it was given up. The "
    "operator's log has the process's last words."
)


class FailureCause(StrEnum):
    """What is at the bottom of it; two only where somebody acts differently."""

    MODEL_UNAVAILABLE = "model_unavailable"  # the world failed, attempt after attempt
    ACCOUNT = "account"  # the provider wants something of the operator
    REQUEST = "request"  # the provider does not take what the task asks
    DEFECT = "defect"  # something of ours broke, attempt after attempt
    QUARANTINED = "quarantined"  # it ended its worker again and again
    CONNECTION = "connection"  # the user has to connect a server
    LIMIT = "limit"  # it used up what it was given
    LOOP = "loop"  # the agent repeated itself
    AGENT = "agent"  # the agent could not, or would not, go on
    CANCELLED = "cancelled"  # somebody stopped it


ADVICE: Mapping[FailureCause, str] = {
    FailureCause.MODEL_UNAVAILABLE: (
        "The model's provider was away or busy through all attempts; the task is "
        "well. Retry helps as soon as the provider answers again."
    ),
    FailureCause.ACCOUNT: (
        "The model's provider refused the service, not this task: its key, its credit, "
        "its address or the model. Tell the operator; retry helps once that is mended."
    ),
    FailureCause.REQUEST: (
        "The model's provider does not take what this task asks, and would not the next "
        "time: retry does not help. Another prompt or another model may."
    ),
    FailureCause.DEFECT: (
        "Something in the service itself broke, attempt after attempt. Tell the operator "
        "the task's id; retry helps once that is mended."
    ),
    FailureCause.QUARANTINED: (
        "The service gave it up, for it brought down whatever process ran it. Tell "
        "the operator before anybody retries it."
    ),
    FailureCause.CONNECTION: (
        "The user has no credential there, or it was refused. Retry helps once it is connected."
    ),
    FailureCause.LIMIT: (
        "It used up what it was given. Retry goes on with the same limits afresh; the "
        "backend can retry it with others."
    ),
    FailureCause.LOOP: "Retry is likely to go in the same circle: look at its last calls first.",
    FailureCause.AGENT: "Its report says what is left. Retry helps once that is out of the way.",
    FailureCause.CANCELLED: "Retry takes that back: it goes on where it was stopped.",
}
_REFUSED_REQUESTS = tuple(REFUSALS[status].partition("(")[0] for status in (400, 413))
_GIVEN_UP = re.compile(re.escape(GIVEN_UP).replace(r"\{attempt\}", r"[0-9]+") + "$")
_OF_REASON: Mapping[StopReason, FailureCause | None] = {
    StopReason.FINAL_REPORT: None,
    StopReason.AGENT_INCOMPLETE: FailureCause.AGENT,
    StopReason.NO_FINAL_REPORT: FailureCause.AGENT,
    StopReason.MAX_STEPS: FailureCause.LIMIT,
    StopReason.MAX_TOOL_CALLS: FailureCause.LIMIT,
    StopReason.MAX_TOKENS: FailureCause.LIMIT,
    StopReason.MAX_COST: FailureCause.LIMIT,
    StopReason.TIMEOUT: FailureCause.LIMIT,
    StopReason.LOOP_DETECTED: FailureCause.LOOP,
    StopReason.CONTEXT_FULL: FailureCause.LIMIT,
    StopReason.CANCELLED: FailureCause.CANCELLED,
}


def cause_of(
    *, stop_reason: StopReason | None, error: str | None, needs_connection: bool
) -> FailureCause | None:
    """Return the cause of an ending; None where nothing is to be mended.

    A fault is told by the sentence that the engine wrote.
    """
    if stop_reason is None:
        return None
    if stop_reason is StopReason.ERROR:
        return _of_error(error or "")
    if needs_connection and stop_reason is not StopReason.CANCELLED:
        return FailureCause.CONNECTION
    return _OF_REASON[stop_reason]


def _of_error(error: str) -> FailureCause:
    if error == FATAL:
        return FailureCause.QUARANTINED
    if error.startswith(BROKE):
        return FailureCause.DEFECT
    if error.startswith(_REFUSED_REQUESTS):
        return FailureCause.REQUEST
    if _GIVEN_UP.search(error):
        return FailureCause.MODEL_UNAVAILABLE
    return FailureCause.ACCOUNT
