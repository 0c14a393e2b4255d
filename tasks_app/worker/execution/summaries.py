"""Summaries: the model shortens a transcript that does not fit its window any more."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from agent_runtime.context.context import SUMMARY_SHARE, SUMMARY_TOKENS
from agent_runtime.context.cut import head_within
from agent_runtime.context.marks import Mark
from agent_runtime.context.words import SUMMARY_ORDER
from agent_runtime.errors import ContextTooLong, ModelRefused
from agent_runtime.finish import Finish
from agent_runtime.loop import Summarise
from agent_runtime.markup import without_thoughts
from agent_runtime.messages import Message, ModelAnswer, user_message
from tasks_app.worker.execution.active_task import ActiveTask
from tasks_app.worker.execution.model_calls import Asking
from tasks_app.worker.journal.entries import NewSummary

MAX_REFUSALS = 5  # for length, of one summary
SMALLER = 0.8  # what is asked for after such a refusal, of what was asked for before


async def summarise(held: ActiveTask, action: Summarise, asking: Asking) -> NewSummary | None:
    """Ask for a summary and let it stand in the transcript; None when asked to stop first.

    One that is refused, blank or cut off comes to nothing: the row says so, and the context is
    masked harder. Raises ModelUnavailable: it is asked for again later.
    """
    context = held.transcript.context
    context.apply(action.mark)
    started_at = held.clock()
    try:
        answer = await _ask(held, action.mark, asking)
    except ModelRefused:
        held.transcript.summary_failed(None)
        return _row(held, action.mark, started_at, answer=None)
    if answer is None:
        return None
    text = _text(held, answer)
    skill = held.transcript.skill
    if not text:
        held.transcript.summary_failed(answer.usage)
        return _row(held, action.mark, started_at, answer=answer)
    summary = context.summary_of(text, skill=skill.name if skill else "")
    held.transcript.summarise(summary, answer.usage)
    return _row(held, action.mark, started_at, answer=answer, made=True)


async def _ask(held: ActiveTask, mark: Mark, asking: Asking) -> ModelAnswer | None:
    """Ask with as much of the context as fits; after a refusal for length with less."""
    context = held.transcript.context
    order = user_message(SUMMARY_ORDER.format(tokens=_room(held)))
    size = context.meter.size(context.window.usable) - context.tools_size - len(order.wire)
    for _ in range(MAX_REFUSALS):
        messages: Sequence[Message] = context.trimmed(size)
        try:
            return await asking.ask(held, [*messages, order], words_only=True)
        except ContextTooLong:
            size = int(min(size, mark.sent) * SMALLER)
    return await asking.ask(held, [*context.trimmed(size), order], words_only=True)


def _room(held: ActiveTask) -> int:
    return held.transcript.context.window.share(SUMMARY_SHARE, SUMMARY_TOKENS)


def _text(held: ActiveTask, answer: ModelAnswer) -> str:
    """Return the summary in an answer, cut to its room; nothing where there is none."""
    if answer.finish in (Finish.CUT, Finish.FILTERED):
        return ""
    text = without_thoughts(answer.text).strip()
    return head_within(text, room=held.transcript.context.meter.size(_room(held)))


def _row(
    held: ActiveTask,
    mark: Mark,
    started_at: datetime.datetime,
    *,
    answer: ModelAnswer | None,
    made: bool = False,
) -> NewSummary:
    transcript = held.transcript
    context = transcript.context
    summary = context.summary if made else None
    return NewSummary(
        number=held.summaries + 1,
        run_number=held.run_number,
        after_step=transcript.steps,
        through_run=summary.through.run if summary else 0,
        through_step=summary.through.step if summary else 0,
        mark=mark.as_json(),
        text=summary.text if summary else "",
        ledger=summary.ledger if summary else "",
        pinned=summary.pinned if summary else (),
        model=((answer and answer.model) or held.model)[:200],
        provider_request_id=answer.request_id[:200] if answer else "",
        usage=answer.usage if answer else None,
        tokens_before=mark.tokens,
        tokens_after=context.tokens if made else mark.tokens,
        started_at=started_at,
    )
