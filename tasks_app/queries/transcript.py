"""A task's transcript for those who ask about it: a page of messages in their order.

It is read from the rows of the journal and only grows: the prompt, then of each step what was
said to the model before it, the model's words, and the results once all of its calls have ended.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from django.db.models import Exists, OuterRef

from agent_runtime.context.words import summary_text
from agent_runtime.messages import CallState, text_of
from agent_runtime.prompt import skill_instruction
from agent_runtime.transcript import RequiredSkill
from tasks_app.models import AgentTask, ContextSummary, Event, Step, ToolCall
from tasks_app.states import Status

_OPEN = [each.value for each in CallState if not each.ended]
_CURSOR = re.compile(r"([0-9]{1,9})-([0-9]{1,9})-([0-9]{1,9})")


class MessageType(StrEnum):
    """Who speaks, more exactly than the role that the model is told."""

    USER_MESSAGE = "user_message"  # the prompt, and what the caller said to continue
    RUNTIME_NOTE = "runtime_note"  # the service's own words, in the role of the user
    ASSISTANT_MESSAGE = "assistant_message"  # the model, without asking for a tool
    TOOL_CALLS = "tool_calls"  # the model, asking for tools: the trace shows which
    TOOL_RESULT = "tool_result"  # what one of them came to
    SUMMARY = "summary"  # what the model reads in place of the steps before, and of their calls


_ROLES = {
    MessageType.USER_MESSAGE: "user",
    MessageType.RUNTIME_NOTE: "user",
    MessageType.ASSISTANT_MESSAGE: "assistant",
    MessageType.TOOL_CALLS: "assistant",
    MessageType.TOOL_RESULT: "tool",
    MessageType.SUMMARY: "user",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptMessage:
    """One message of the transcript."""

    id: uuid.UUID
    type: MessageType
    text: str
    at: datetime.datetime

    @property
    def role(self) -> str:
        """The role in which the model reads it."""
        return _ROLES[self.type]


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptCursor:
    """Where the next page begins: so many messages into a step, so many in all before it."""

    step: int = 0  # the step's sequence; 0 stands for what is said before any
    skipped: int = 0
    messages_before: int = 0

    @classmethod
    def decode(cls, cursor: str) -> TranscriptCursor | None:
        """Return the place that a cursor names, or None where it names none."""
        found = _CURSOR.fullmatch(cursor)
        return found and cls(
            step=int(found[1]), skipped=int(found[2]), messages_before=int(found[3])
        )

    @property
    def cursor(self) -> str:
        """The place as text."""
        return f"{self.step}-{self.skipped}-{self.messages_before}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptPage:
    """Messages in their order, and where the next page begins if there is more."""

    status: Status
    place: TranscriptCursor
    messages: Sequence[TranscriptMessage]
    next: TranscriptCursor | None


def read_transcript(
    *, task_id: uuid.UUID, tenant_id: uuid.UUID, place: TranscriptCursor, limit: int
) -> TranscriptPage | None:
    """Return up to `limit` messages from `place` on, or None: the tenant has no such task.

    As many steps are read as there are messages, and no more calls than that: a page costs the
    same in a long task as in a short one.
    """
    task = AgentTask.objects.filter(id=task_id, tenant_id=tenant_id).first()
    if task is None:
        return None
    found = list(islice(_iter_messages(task, place, limit=limit), limit + 1))
    following = None
    if len(found) > limit:
        step, skipped, _ = found[limit]
        following = TranscriptCursor(
            step=step, skipped=skipped, messages_before=place.messages_before + limit
        )
    return TranscriptPage(
        status=Status(task.status),
        place=place,
        messages=[message for _, _, message in found[:limit]],
        next=following,
    )


def _iter_messages(
    task: AgentTask, place: TranscriptCursor, *, limit: int
) -> Iterator[tuple[int, int, TranscriptMessage]]:
    """Yield messages from `place` on, each with its step and its number there."""
    if place.step == 0:
        yield from _from(0, place.skipped, _opening(task))
    steps = list(
        Step.objects.filter(task=task, sequence__gte=place.step)
        .annotate(is_open=Exists(ToolCall.objects.filter(step=OuterRef("pk"), state__in=_OPEN)))
        .order_by("sequence")[: limit + 1]
    )
    ended = [step for step in steps if not step.is_open]
    results = _results(ended, most=place.skipped + limit + 1)
    continued = _continued_runs(task) if any(step.request["notes"] for step in steps) else set()
    rows: list[Step | ContextSummary] = [*steps]
    if task.summaries_made:
        rows = sorted([*steps, *_summaries(task, place, limit=limit)], key=lambda row: row.sequence)
    for row in rows:
        if isinstance(row, ContextSummary):
            messages = [_summary(task, row)]
        else:
            by_user = row.index == 1 and row.run_number in continued
            messages = [*_notes(row, by_user=by_user), _answer(row), *results[row.pk]]
        skipped = place.skipped if row.sequence == place.step else 0
        yield from _from(row.sequence, skipped, messages)


def _summaries(task: AgentTask, place: TranscriptCursor, *, limit: int) -> list[ContextSummary]:
    made = ContextSummary.objects.filter(task=task, sequence__gte=place.step).exclude(text="")
    return list(made.order_by("sequence")[: limit + 1])


def _summary(task: AgentTask, row: ContextSummary) -> TranscriptMessage:
    return TranscriptMessage(
        id=uuid.uuid5(task.id, f"summary {row.number}"),
        type=MessageType.SUMMARY,
        text=summary_text(text=row.text, ledger=row.ledger),
        at=row.completed_at,
    )


def _from(
    step: int, skipped: int, messages: Sequence[TranscriptMessage]
) -> Iterator[tuple[int, int, TranscriptMessage]]:
    for number, message in enumerate(messages[skipped:], start=skipped):
        yield step, number, message


def _opening(task: AgentTask) -> list[TranscriptMessage]:
    """Return what is said before the first step: the order to load a skill, and the prompt."""
    prompt = TranscriptMessage(
        id=task.id, type=MessageType.USER_MESSAGE, text=task.prompt, at=task.created_at
    )
    if task.required_skill is None:
        return [prompt]
    skill = RequiredSkill(id=task.required_skill["id"], name=task.required_skill["name"])
    order = dataclasses.replace(
        prompt,
        id=uuid.uuid5(task.id, "skill"),
        type=MessageType.RUNTIME_NOTE,
        text=skill_instruction(skill),
    )
    return [order, prompt]


def _continued_runs(task: AgentTask) -> set[int]:
    """Return the runs that a caller's message began: it is the last note of their first step."""
    events = Event.objects.filter(task=task, kind="continued")
    return {data["run_number"] for data in events.values_list("data", flat=True)}


def _notes(step: Step, *, by_user: bool) -> list[TranscriptMessage]:
    notes: Sequence[str] = step.request["notes"]
    last = len(notes) - 1
    return [
        TranscriptMessage(
            id=uuid.uuid5(step.pk, str(number)),
            type=(
                MessageType.USER_MESSAGE if by_user and number == last else MessageType.RUNTIME_NOTE
            ),
            text=text,
            at=step.started_at,
        )
        for number, text in enumerate(notes)
    ]


def _answer(step: Step) -> TranscriptMessage:
    asks = step.response.get("tool_calls")
    return TranscriptMessage(
        id=step.pk,
        type=MessageType.TOOL_CALLS if asks else MessageType.ASSISTANT_MESSAGE,
        text=text_of(step.response),
        at=step.completed_at,
    )


def _results(
    steps: Sequence[Step], *, most: int
) -> Mapping[uuid.UUID, Sequence[TranscriptMessage]]:
    calls = ToolCall.objects.filter(step__in=steps).order_by("step__sequence", "index")
    results: dict[uuid.UUID, list[TranscriptMessage]] = defaultdict(list)
    for call in calls.only("id", "step", "result", "completed_at")[:most]:
        assert call.result is not None
        assert call.completed_at is not None
        results[call.step_id].append(
            TranscriptMessage(
                id=call.pk, type=MessageType.TOOL_RESULT, text=call.result, at=call.completed_at
            )
        )
    return results
