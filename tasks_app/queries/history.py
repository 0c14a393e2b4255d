"""What a task's rows hold of its transcript, read without what a summary has replaced."""

from __future__ import annotations

import datetime
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from django.db.models import Q, QuerySet
from django.db.models.functions import Left, Length

from agent_runtime.arguments import parse_arguments
from agent_runtime.context.facts import (
    SHORT_ARGUMENTS,
    SHORT_RESULT,
    CallFact,
    shortened,
    signature,
)
from agent_runtime.context.places import Place
from agent_runtime.finish import Finish, finish_of
from agent_runtime.messages import EMPTY_RESULT, CallState, text_of
from tasks_app.models import AgentTask, ContextSummary, Step, ToolCall

_HEAD = 2 * SHORT_RESULT + 1  # characters: `shortened` looks no further


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The steps of all runs and the summaries, each in their order.

    Of the steps up to `through` neither the model's message nor the tool calls are read:
    `facts` holds what is remembered of the calls, `cut_texts` the words of cut-off answers.
    """

    steps: Sequence[Step] = ()
    summaries: Sequence[ContextSummary] = ()
    facts: Mapping[uuid.UUID, Sequence[CallFact]] = field(default_factory=dict)
    cut_texts: Mapping[uuid.UUID, str] = field(default_factory=dict)

    @property
    def through(self) -> tuple[int, int]:
        """The run and the step up to which the last summary stands for all."""
        return _through(self.summaries)


def history_of(task: AgentTask) -> History:
    """Return the history of a task."""
    steps = task.steps.order_by("run_number", "index")
    if not task.summaries_made:
        return History(steps=list(steps.prefetch_related("tool_calls")))
    summaries = list(task.summaries.order_by("number"))
    run, index = _through(summaries)
    replaced = Q(run_number__lt=run) | Q(run_number=run, index__lte=index)
    gone = list(steps.filter(replaced).defer("response"))
    kept = list(steps.exclude(replaced).prefetch_related("tool_calls"))
    return History(
        steps=[*gone, *kept],
        summaries=summaries,
        facts=_facts(gone, run, index),
        cut_texts=_cut_texts(steps, gone),
    )


def _through(summaries: Sequence[ContextSummary]) -> tuple[int, int]:
    places = [(each.through_run, each.through_step) for each in summaries if each.text]
    return places[-1] if places else (0, 0)


def _facts(gone: Sequence[Step], run: int, index: int) -> Mapping[uuid.UUID, list[CallFact]]:
    if not gone:
        return {}
    calls = (
        ToolCall.objects.filter(
            Q(step__run_number__lt=run) | Q(step__run_number=run, step__index__lte=index),
            step__task=gone[0].task_id,
        )
        .annotate(head=Left("result", _HEAD), length=Length("result"))
        .defer("result")
        .order_by("step_id", "index")
    )
    steps = {step.pk: step for step in gone}
    facts: dict[uuid.UUID, list[CallFact]] = defaultdict(list)
    for call in calls:
        facts[call.step_id].append(_fact(call, steps[call.step_id]))
    return facts


def _fact(call: ToolCall, step: Step) -> CallFact:
    head, length = call.head, call.length  # type: ignore[attr-defined]  # annotated
    arguments = parse_arguments(call.arguments)
    return CallFact(
        place=Place(step.run_number, step.index, call.index),
        name=call.name,
        server=call.server,
        tool=call.tool,
        arguments=shortened(call.arguments, SHORT_ARGUMENTS),
        signature=signature(
            server=call.server,
            tool=call.tool or call.name,
            arguments=arguments,
            text=call.arguments,
        ),
        state=CallState(call.state),
        repeatable=call.repeatable,
        refused=call.refused,
        head=shortened(head if head.strip() else EMPTY_RESULT, SHORT_RESULT),
        size=call.result_size or length,
        at=to_the_second(call.completed_at),
    )


def _cut_texts(steps: QuerySet[Step], gone: Sequence[Step]) -> Mapping[uuid.UUID, str]:
    cut = [step.pk for step in gone if finish_of(step.finish_reason) is Finish.CUT]
    if not cut:
        return {}
    responses = steps.filter(pk__in=cut).values_list("pk", "response")
    return {pk: text_of(response) for pk, response in responses}


def to_the_second(moment: datetime.datetime | None) -> str:
    """Return a moment in UTC as the model reads it."""
    return f"{moment.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else ""
