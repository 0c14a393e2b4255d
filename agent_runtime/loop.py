"""The loop: a pure function of the transcript that says what happens next."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent_runtime.builtin_tools import SUBMIT_REPORT
from agent_runtime.context.context import Verdict
from agent_runtime.context.marks import Mark
from agent_runtime.finish import Finish
from agent_runtime.limits import MAX_CONTINUATIONS, NUDGE_AT_REPEATS, STOP_AT_REPEATS
from agent_runtime.messages import Call, CallState, Turn
from agent_runtime.outcome import DESCRIPTIONS, Outcome, StopReason
from agent_runtime.prompt import (
    GO_ON,
    NUDGE_CALL,
    NUDGE_EMPTY,
    NUDGE_REPEATS,
    closing_note,
    skill_instruction,
)
from agent_runtime.transcript import Transcript

NO_COST = "the model's provider does not say what a call costs"
FILTERED = "the model's provider ended the answer by a filter or its policy ({word})"
CUT_REPORT = "the report was cut off by its length."
ODD_END = "the model's provider ended the answer with an unknown reason, {word!r}."


@dataclass(frozen=True, slots=True, kw_only=True)
class AskModel:
    """Ask the model, after saying `notes`. With `closing` set: without tools, for the report.

    `mark` says what of the transcript it is sent; `caller_notes` are the indexes of the notes
    that are the caller's own words.
    """

    notes: tuple[str, ...] = ()
    closing: StopReason | None = None
    mark: Mark | None = field(default=None, compare=False)
    caller_notes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Summarise:
    """Ask the model for a summary of what the context cannot keep; no step comes of it."""

    mark: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCalls:
    """Run these calls, those STARTED now, the PLANNED ones as places become free."""

    calls: tuple[Call, ...]


Action = AskModel | RunCalls | Summarise | Outcome


def next_action(transcript: Transcript, *, now: float) -> Action:
    """Return what to do next; `now` in POSIX seconds.

    1. Calls without a result come first.
    2. The answer to the closing call ends the run, whatever it says, and so does one that a
       filter ended: none of its calls was run.
    3. Results of calls: a report that was accepted ends the run; a loop or a limit asks for the
       closing call; else the model is asked.
    4. Words: they are the report, unless they are cut off, refuse, are empty, are a tool call
       written as text, or come too early.
    """
    turn = transcript.turn
    if turn is None:
        return _open(transcript, now)
    if turn.open_calls:
        return RunCalls(calls=tuple(turn.open_calls))
    if turn.closing:
        return _closed(transcript, turn, turn.closing)
    if turn.answer.finish is Finish.FILTERED:
        return _unfinished(transcript, turn, StopReason.AGENT_INCOMPLETE)
    if turn.calls:
        return _after_calls(transcript, turn, now)
    return _after_words(transcript, turn, now)


def _open(transcript: Transcript, now: float) -> Action:
    """Begin the run, unless what must always stay leaves no room to work in."""
    notes = tuple(transcript.opening_notes)
    if transcript.context.pinned_is_too_long(notes):
        return Outcome(completed=False, reason=StopReason.CONTEXT_FULL)
    return _ask(transcript, notes, now)


def _ask(
    transcript: Transcript, notes: tuple[str, ...], now: float
) -> AskModel | Summarise | Outcome:
    """Ask the model, or for the closing report: limits are checked before they are overspent.

    A context that is too full is summarised first.
    """
    reached = _reached(transcript, now)
    if reached is not None:
        return _close(transcript, reached)
    plan = transcript.context.plan(notes)
    match plan.verdict:
        case Verdict.SUMMARISE:
            return Summarise(mark=plan.mark)
        case Verdict.CIRCLE:
            return _close(transcript, StopReason.LOOP_DETECTED)
        case Verdict.FULL:
            return Outcome(completed=False, reason=StopReason.CONTEXT_FULL)
        case Verdict.FITS:
            return AskModel(notes=notes, mark=plan.mark, caller_notes=_caller_notes(transcript))


def _caller_notes(transcript: Transcript) -> tuple[int, ...]:
    return tuple(transcript.caller_notes) if transcript.turn is None else ()


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
    reserve = spent.max_call_cost_usd
    if limits.max_cost_usd is not None and spent.cost_usd + reserve >= limits.max_cost_usd:
        return StopReason.MAX_COST
    return None


def _close(transcript: Transcript, reason: StopReason) -> AskModel | Outcome:
    """Ask for the closing report; not where its cost is limited and would not be known."""
    if _cost_is_unknown(transcript):
        return Outcome(completed=False, reason=StopReason.MAX_COST, detail=NO_COST)
    untold = transcript.opening_notes if transcript.turn is None else ()
    notes = (*untold, closing_note(DESCRIPTIONS[reason]))
    return AskModel(
        notes=notes,
        closing=reason,
        mark=transcript.context.plan(notes, closing=True).mark,
        caller_notes=_caller_notes(transcript),
    )


def _cost_is_unknown(transcript: Transcript) -> bool:
    return transcript.limits.max_cost_usd is not None and transcript.spent.cost_unknown


def _after_calls(transcript: Transcript, turn: Turn, now: float) -> Action:
    if transcript.must_load_skill and transcript.skill_reminders > 1:
        return Outcome(completed=False, reason=StopReason.AGENT_INCOMPLETE)
    last = turn.calls[-1]
    if last.request.name == SUBMIT_REPORT and last.state is CallState.SUCCEEDED:
        return _submitted(last)
    if now < transcript.deadline and any(c.state is CallState.CANCELLED for c in turn.calls):
        return _close(transcript, StopReason.MAX_TOOL_CALLS)
    if transcript.repeats >= STOP_AT_REPEATS:
        return _close(transcript, StopReason.LOOP_DETECTED)
    return _ask(transcript, (NUDGE_REPEATS,) if transcript.repeats == NUDGE_AT_REPEATS else (), now)


def _submitted(call: Call) -> Outcome:
    assert call.arguments is not None
    said = call.arguments  # cleaned and checked when the call was planned
    completed = said["outcome"] == "completed"
    reason = StopReason.FINAL_REPORT if completed else StopReason.AGENT_INCOMPLETE
    return Outcome(completed=completed, reason=reason, report=said["report"])


def _closed(transcript: Transcript, turn: Turn, reason: StopReason) -> Outcome:
    if turn.answer.refusal or turn.answer.finish is Finish.FILTERED:
        return _unfinished(transcript, turn, reason)
    if not transcript.words or transcript.is_written_call:
        return Outcome(completed=False, reason=reason)
    remark = CUT_REPORT if turn.answer.finish is Finish.CUT else ""
    return Outcome(completed=False, reason=reason, report=transcript.words, remark=remark)


def _unfinished(transcript: Transcript, turn: Turn, reason: StopReason) -> Outcome:
    """End with the words so far, which are no final report: a refusal, or before a filter."""
    answer = turn.answer
    why = ""
    if answer.finish is Finish.FILTERED:
        why = FILTERED.format(word=answer.finish_reason)
    words = "\n\n".join(each for each in (transcript.words, answer.refusal) if each)
    return Outcome(
        completed=False,
        reason=reason,
        report=words or None,
        final=False,
        detail=why,
        remark=f"{why}." if why else "",
    )


def _after_words(transcript: Transcript, turn: Turn, now: float) -> Action:
    answer = turn.answer
    if answer.finish is Finish.CUT:
        if len(transcript.cut_texts) <= MAX_CONTINUATIONS:
            return _ask(transcript, (GO_ON,), now)
        return Outcome(completed=False, reason=StopReason.NO_FINAL_REPORT)
    if answer.refusal:
        return _unfinished(transcript, turn, StopReason.AGENT_INCOMPLETE)
    if transcript.must_load_skill:
        if transcript.skill_reminders > 1:
            return Outcome(completed=False, reason=StopReason.AGENT_INCOMPLETE)
        assert transcript.skill is not None
        return _ask(transcript, (skill_instruction(transcript.skill),), now)
    words = transcript.words
    if words and not transcript.is_written_call:
        odd = answer.finish is Finish.UNKNOWN
        return Outcome(
            completed=True,
            reason=StopReason.FINAL_REPORT,
            report=words,
            remark=ODD_END.format(word=answer.finish_reason) if odd else "",
        )
    if transcript.nudges > 1:
        return Outcome(completed=False, reason=StopReason.NO_FINAL_REPORT)
    return _ask(transcript, (NUDGE_CALL if words else NUDGE_EMPTY,), now)
