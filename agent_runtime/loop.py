"""The loop: a pure function of the transcript that says what happens next."""

from __future__ import annotations

from dataclasses import dataclass

from agent_runtime.builtins import SUBMIT_REPORT
from agent_runtime.endings import SENTENCES, Ending, StopReason
from agent_runtime.limits import MAX_CONTINUATIONS, NUDGE_AT_REPEATS, STOP_AT_REPEATS
from agent_runtime.messages import Call, CallState, Turn
from agent_runtime.prompt import GO_ON, NUDGE_EMPTY, NUDGE_REPEATS, closing_note, skill_order
from agent_runtime.transcript import Transcript

NO_COST = "the model's provider does not say what a call costs"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskModel:
    """Ask the model, after saying `notes`. With `closing` set: without tools, for the report."""

    notes: tuple[str, ...] = ()
    closing: StopReason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCalls:
    """Run these calls, those STARTED now, the PLANNED ones as places become free."""

    calls: tuple[Call, ...]


Action = AskModel | RunCalls | Ending


def next_action(transcript: Transcript, *, now: float) -> Action:
    """Return what to do next; `now` in POSIX seconds.

    1. Calls without a result come first.
    2. The answer to the closing call ends the run, whatever it says.
    3. Results of calls: a report that was accepted ends the run; a loop or a limit asks for the
       closing call; else the model is asked.
    4. Words: they are the report, unless they are cut off, empty, or too early.
    """
    turn = transcript.turn
    if turn is None:
        return _ask(transcript, tuple(transcript.opening_notes), now)
    if turn.open_calls:
        return RunCalls(calls=tuple(turn.open_calls))
    if turn.closing:
        return Ending(completed=False, reason=turn.closing, report=turn.answer.text.strip() or None)
    if turn.calls:
        return _after_calls(transcript, turn, now)
    return _after_words(transcript, turn, now)


def _ask(transcript: Transcript, notes: tuple[str, ...], now: float) -> AskModel | Ending:
    """Ask the model, or for the closing report: limits are checked before they are overspent."""
    reached = _reached(transcript, now)
    return AskModel(notes=notes) if reached is None else _close(transcript, reached)


def _reached(transcript: Transcript, now: float) -> StopReason | None:
    """Return the limit that leaves nothing but the closing call, whose cost is kept in reserve."""
    limits, spent = transcript.limits, transcript.spent
    if now >= transcript.deadline:
        return StopReason.TIMEOUT
    if transcript.steps >= limits.max_steps:
        return StopReason.MAX_STEPS
    if limits.max_tokens is not None and spent.tokens >= limits.max_tokens:
        return StopReason.MAX_TOKENS
    if _cost_is_unknown(transcript):
        return StopReason.MAX_COST
    reserve = spent.dearest_call_usd
    if limits.max_cost_usd is not None and spent.cost_usd + reserve >= limits.max_cost_usd:
        return StopReason.MAX_COST
    return None


def _close(transcript: Transcript, reason: StopReason) -> AskModel | Ending:
    """Ask for the closing report; not where its cost is limited and would not be known."""
    if _cost_is_unknown(transcript):
        return Ending(completed=False, reason=StopReason.MAX_COST, detail=NO_COST)
    untold = transcript.opening_notes if transcript.turn is None else ()
    return AskModel(notes=(*untold, closing_note(SENTENCES[reason])), closing=reason)


def _cost_is_unknown(transcript: Transcript) -> bool:
    return transcript.limits.max_cost_usd is not None and transcript.spent.cost_unknown


def _after_calls(transcript: Transcript, turn: Turn, now: float) -> Action:
    if transcript.must_load_skill and transcript.skill_orders > 1:
        return Ending(completed=False, reason=StopReason.AGENT_INCOMPLETE)
    last = turn.calls[-1]
    if last.request.name == SUBMIT_REPORT and last.state is CallState.SUCCEEDED:
        return _submitted(last)
    if now < transcript.deadline and any(c.state is CallState.CANCELLED for c in turn.calls):
        return _close(transcript, StopReason.MAX_TOOL_CALLS)
    if transcript.repeats >= STOP_AT_REPEATS:
        return _close(transcript, StopReason.LOOP_DETECTED)
    return _ask(transcript, (NUDGE_REPEATS,) if transcript.repeats == NUDGE_AT_REPEATS else (), now)


def _submitted(call: Call) -> Ending:
    assert call.arguments is not None
    said = call.arguments  # cleaned and checked when the call was planned
    completed = said["outcome"] == "completed"
    reason = StopReason.FINAL_REPORT if completed else StopReason.AGENT_INCOMPLETE
    return Ending(completed=completed, reason=reason, report=said["report"])


def _after_words(transcript: Transcript, turn: Turn, now: float) -> Action:
    if turn.answer.finish_reason == "length":
        if len(transcript.cut_texts) <= MAX_CONTINUATIONS:
            return _ask(transcript, (GO_ON,), now)
        return Ending(completed=False, reason=StopReason.NO_FINAL_REPORT)
    if transcript.must_load_skill:
        if transcript.skill_orders > 1:
            return Ending(completed=False, reason=StopReason.AGENT_INCOMPLETE)
        assert transcript.skill is not None
        return _ask(transcript, (skill_order(transcript.skill),), now)
    text = "".join([*transcript.cut_texts, turn.answer.text]).strip()
    if text:
        return Ending(completed=True, reason=StopReason.FINAL_REPORT, report=text)
    if transcript.nudges > 1:
        return Ending(completed=False, reason=StopReason.NO_FINAL_REPORT)
    return _ask(transcript, (NUDGE_EMPTY,), now)
