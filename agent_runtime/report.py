"""The report that the engine writes where the agent wrote none, and what it adds to one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from agent_runtime.endings import SENTENCES, Ending
from agent_runtime.transcript import Transcript


def final_report(ending: Ending, transcript: Transcript) -> str:
    """Return the report of a run: the agent's own, or an honest account of what was done.

    Either names the calls whose outcome is unknown, how the last answer ended where it did not
    end in good order, and by how much a limit was overshot.
    """
    text = ending.report or _account(ending, transcript)
    notes = [*([ending.remark] if ending.remark else []), *_overshot(transcript)]
    text += "".join(f"\n\nNote of the engine: {each}" for each in notes)
    if transcript.unknown_outcomes:
        names = ", ".join(_counted(transcript.unknown_outcomes))
        text += (
            "\n\nNote of the engine: the outcome of these tool calls is unknown; they may or may "
            f"not have happened and were not repeated: {names}."
        )
    return text


def _overshot(transcript: Transcript) -> Iterator[str]:
    limits, spent = transcript.limits, transcript.spent
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


def _account(ending: Ending, transcript: Transcript) -> str:
    why = SENTENCES[ending.reason]
    if ending.detail:
        why += f": {ending.detail.rstrip('.')}"
    lines = [
        "The agent wrote no report; this account is the engine's.",
        f"It stopped because {why}.",
    ]
    if transcript.must_load_skill and transcript.skill is not None:
        lines.append(f"The required skill {transcript.skill.name!r} was never loaded.")
    if transcript.done:
        lines.append(f"Tool calls that succeeded: {', '.join(_counted(transcript.done))}.")
    elif transcript.steps:
        lines.append("No tool call succeeded.")
    else:
        lines.append("Nothing had been done.")
    last = transcript.turn.answer.text.strip() if transcript.turn else ""
    if last or transcript.cut_texts:
        lines.append(f"Its last words: {(''.join(transcript.cut_texts) or last)[-2000:]}")
    return " ".join(lines)


def _counted(names: list[str]) -> list[str]:
    return [f"{name} ({count})" if count > 1 else name for name, count in Counter(names).items()]
