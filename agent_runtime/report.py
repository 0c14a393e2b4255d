"""The report that the engine writes where the agent wrote none, and what it adds to one."""

from __future__ import annotations

from collections import Counter

from agent_runtime.endings import SENTENCES, Ending, StopReason
from agent_runtime.transcript import Transcript


def final_report(ending: Ending, transcript: Transcript, *, detail: str = "") -> str:
    """Return the report of a run: the agent's own, or an honest account of what was done.

    `detail` is what a person said about the end, such as why he cancelled. Calls whose outcome
    is unknown are named in either.
    """
    text = ending.report or _account(ending.reason, transcript, detail)
    if transcript.unknown_outcomes:
        names = ", ".join(_counted(transcript.unknown_outcomes))
        text += (
            "\n\nNote of the engine: the outcome of these tool calls is unknown; they may or may "
            f"not have happened and were not repeated: {names}."
        )
    return text


def _account(reason: StopReason, transcript: Transcript, detail: str) -> str:
    why = f"{SENTENCES[reason]}: {detail.rstrip('.')}" if detail else SENTENCES[reason]
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
