"""The texts of the context that the model reads besides the transcript."""

from __future__ import annotations

from agent_runtime.context.facts import CallFact

SUMMARY_ORDER = """\
The conversation is about to be shortened: everything but its end will be replaced by a summary \
that you write now. Do not call a tool. Bring the last summary, if there is one, up to date. \
Write, in this order and as short as the facts allow (at most {tokens:,} tokens):
goal; constraints; done; under way; blocked; decisions with their reasons; facts that are needed \
later (ids, numbers, names, exact error messages, handles of results); what was tried and failed; \
next.
Keep the plan that is there: the summary is read by you when you continue to carry it out. A list \
of all calls that had an effect is added to it; do not copy it."""


def masked_line(fact: CallFact) -> str:
    """Return the line that stands for a result that is no longer shown."""
    handle = fact.shown_handle or fact.place.handle
    state = fact.state.value.replace("_", " ")
    return (
        f"[result not shown: {fact.name}, {state}, {fact.size:,} characters; read it with "
        f"read_result, handle {handle} ; it begins: {fact.head}]"
    )


def summary_text(*, text: str, ledger: str) -> str:
    """Return the user message that stands for what was replaced: the summary and the ledger."""
    parts = [f"<summary>\n{text}\n</summary>"]
    if ledger:
        parts.append(f"<ledger>\n{ledger}\n</ledger>")
    return "\n\n".join(parts)


def pinned_skill(name: str, body: str) -> str:
    """Return the required skill's body as it stays in the context."""
    return f"<skill>\nThe required skill {name!r}, which you loaded:\n{body}\n</skill>"


def already_done(fact: CallFact) -> str:
    """Return the answer to a call that was made before and whose result is out of sight."""
    when = f" at {fact.at}" if fact.at else ""
    outcome = (
        "Its outcome is unknown: it may or may not have happened."
        if fact.state.value == "unknown_outcome"
        else f"It succeeded; its result begins: {fact.head}"
    )
    return (
        f"Not sent: this task made the same call{when}. {outcome} (read_result, handle "
        f"{fact.place.handle}) If you mean to do it a second time, make the same call again now."
    )
