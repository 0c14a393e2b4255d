"""The loop: a pure function of the transcript that says what happens next."""

from __future__ import annotations

from dataclasses import dataclass

from agent_runtime.builtins import SUBMIT_REPORT
from agent_runtime.endings import SENTENCES, Ending, StopReason
from agent_runtime.limits import MAX_CONTINUATIONS, NUDGE_AT_REPEATS, STOP_AT_REPEATS
from agent_runtime.messages import Call, CallState, Turn
from agent_runtime.prompt import GO_ON, NUDGE_EMPTY, NUDGE_REPEATS, closing_note, skill_order
from agent_runtime.transcript import Transcript


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


def _ask(transcript: Transcript, notes: tuple[str, ...], now: float) -> AskModel:
    """Ask the model, or for the closing report: limits are checked before they are overspent."""
    if now >= transcript.deadline:
        return _close(StopReason.TIMEOUT)
    if transcript.steps >= transcript.limits.max_steps:
        return _close(StopReason.MAX_STEPS)
    return AskModel(notes=notes)


def _close(reason: StopReason) -> AskModel:
    return AskModel(notes=(closing_note(SENTENCES[reason]),), closing=reason)


def _after_calls(transcript: Transcript, turn: Turn, now: float) -> Action:
    if transcript.must_load_skill and transcript.skill_orders > 1:
        return Ending(completed=False, reason=StopReason.AGENT_INCOMPLETE)
    last = turn.calls[-1]
    if last.request.name == SUBMIT_REPORT and last.state is CallState.SUCCEEDED:
        return _submitted(last)
    if now < transcript.deadline and any(c.state is CallState.CANCELLED for c in turn.calls):
        return _close(StopReason.MAX_TOOL_CALLS)
    if transcript.repeats >= STOP_AT_REPEATS:
        return _close(StopReason.LOOP_DETECTED)
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
