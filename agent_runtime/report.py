"""What is said of a run at its end: the agent's own report, or the engine's account of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from agent_runtime.limits import Limits, Spent
from agent_runtime.messages import CallState
from agent_runtime.outcome import DESCRIPTIONS, Outcome, StopReason
from agent_runtime.transcript import Transcript

MAX_NAMED = 50  # different tools in one list of an account
MAX_WORDS = 2_000  # characters of the agent's last words

# In the order in which an account lists them; what is in doubt has a note of its own.
_LISTS = {
    CallState.SUCCEEDED: "Tool calls that succeeded",
    CallState.FAILED: "Tool calls that failed",
    CallState.CANCELLED: "Tool calls that were not completed (not sent, or safe to repeat)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an account is written from, read from a transcript or from a task's rows.

    `steps` and `calls` are of all runs of the task: `calls` counts the ended tool calls by state
    and name, in the order in which they first came. The rest is of the current run.
    """

    steps: int
    calls: Mapping[tuple[CallState, str], int] = field(default_factory=dict)
    skill_not_loaded: str = ""  # the name of the required skill that the agent did not load
    last_words: str = ""
    limits: Limits
    spent: Spent


def facts_of(transcript: Transcript) -> Facts:
    """Return the facts of a transcript, all of whose calls have ended."""
    missing = transcript.skill if transcript.must_load_skill else None
    last = transcript.turn.answer.text if transcript.turn else ""
    return Facts(
        steps=transcript.all_steps,
        calls=dict(transcript.outcomes),
        skill_not_loaded=missing.name if missing else "",
        last_words="".join(transcript.cut_texts) or last,
        limits=transcript.limits,
        spent=transcript.spent,
    )


def final_report(outcome: Outcome, transcript: Transcript) -> str:
    """Return the report of a run that ends as the loop says; see `report_from`."""
    return report_from(outcome, facts_of(transcript))


def report_from(outcome: Outcome, facts: Facts) -> str:
    """Return the report of a run: the agent's own, or the engine's account of what was done.

    Either names the calls whose outcome is unknown, how the last answer ended where it did not
    end in good order, and by how much a limit was overshot.
    """
    text = outcome.report or _account(outcome, facts)
    notes = [*([outcome.remark] if outcome.remark else []), *_overshot(facts)]
    text += "".join(f"\n\nNote of the engine: {each}" for each in notes)
    doubtful = _named(facts, CallState.UNKNOWN_OUTCOME)
    if doubtful:
        text += (
            "\n\nNote of the engine: the outcome of these tool calls is unknown; they may or may "
            f"not have happened and were not repeated: {doubtful}."
        )
    return text


def failed_report(error: str, facts: Facts) -> str | None:
    """Return the account of a task that failed; None where it failed before its first step."""
    if not facts.steps:
        return None
    outcome = Outcome(completed=False, reason=StopReason.ERROR, detail=error)
    return report_from(outcome, facts)


def _overshot(facts: Facts) -> Iterator[str]:
    limits, spent = facts.limits, facts.spent
    if limits.max_tokens is not None and spent.tokens > limits.max_tokens:
        yield (
            f"the run used {spent.tokens:,} tokens, {spent.tokens - limits.max_tokens:,} more "
            f"than its limit of {limits.max_tokens:,}."
        )
    if limits.max_cost_usd is not None:
        over = round(spent.cost_usd - limits.max_cost_usd, 6)
        if over > 0:
            yield (
                f"the run cost {spent.cost_usd:.6f} USD, {over:.6f} more than its limit of "
                f"{limits.max_cost_usd:.6f}."
            )


def _account(outcome: Outcome, facts: Facts) -> str:
    why = DESCRIPTIONS[outcome.reason]
    if outcome.detail:
        why += f": {outcome.detail.rstrip('.')}"
    lines = [
        "The agent wrote no report; this account is the engine's.",
        f"It stopped because {why}.",
    ]
    if facts.skill_not_loaded:
        lines.append(f"The required skill {facts.skill_not_loaded!r} was never loaded.")
    lines += _done(facts)
    words = facts.last_words.strip()[-MAX_WORDS:]
    if words:
        lines.append(f"Its last words: {words}")
    return " ".join(lines)


def _done(facts: Facts) -> Iterator[str]:
    if not facts.steps:
        yield "Nothing had been done."
    for state, words in _LISTS.items():
        names = _named(facts, state)
        if names:
            yield f"{words}: {names}."
        elif facts.steps and state is CallState.SUCCEEDED:
            yield "No tool call succeeded."


def _named(facts: Facts, state: CallState) -> str:
    """Return the names of the calls that ended so, with how often, as a list in words."""
    counts = {name: count for (each, name), count in facts.calls.items() if each is state}
    names = [f"{name} ({count})" if count > 1 else name for name, count in counts.items()]
    more = [f"and {len(names) - MAX_NAMED} more"] if len(names) > MAX_NAMED else []
    return ", ".join([*names[:MAX_NAMED], *more])
