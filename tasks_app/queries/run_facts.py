"""What a task's rows say of what it did, for the engine's account of a run that was broken off.

A task that ends here may have ended because its content brought down what read it: of its tool
calls only names and states are read, of its steps only what they used up and the last words.
"""

from __future__ import annotations

from collections import Counter

from django.db.models import QuerySet

from agent_runtime.builtin_tools import LOAD_SKILL
from agent_runtime.context.context import Context
from agent_runtime.limits import Spent
from agent_runtime.messages import CallState, text_of
from agent_runtime.report import Facts, facts_of
from agent_runtime.transcript import Transcript
from tasks_app.models import AgentTask, Step, ToolCall
from tasks_app.queries.run_transcript import limits_of, turn_of, usage_of

_PORTION = 1_000  # rows in memory at once


def facts_of_rows(task: AgentTask) -> Facts:
    """Return what `agent_runtime.report.facts_of` returns of the task's transcript.

    All of its tool calls have ended.
    """
    run = task.steps.filter(run_number=task.run_number).order_by("index")
    return Facts(
        steps=task.steps_completed,
        calls=_calls(task),
        skill_not_loaded=_skill_not_loaded(task),
        last_words=_last_words(task, run),
        limits=limits_of(task),
        spent=_spent(run),
    )


def _calls(task: AgentTask) -> Counter[tuple[CallState, str]]:
    rows = ToolCall.objects.filter(step__task=task)
    pairs = rows.order_by("step__run_number", "step__index", "index").values_list("state", "name")
    return Counter((CallState(state), name) for state, name in pairs.iterator(chunk_size=_PORTION))


def _skill_not_loaded(task: AgentTask) -> str:
    skill = task.required_skill
    if not skill:
        return ""
    loads = ToolCall.objects.filter(
        step__task=task,
        name=LOAD_SKILL,
        state=CallState.SUCCEEDED,
        arguments__contains=skill["id"],  # nothing else fits the tool's schema
    )
    return "" if loads.exists() else str(skill["name"])


def _last_words(task: AgentTask, run: QuerySet[Step]) -> str:
    """Return the words of the last step, with those before it that were cut by length."""
    with_calls = run.filter(tool_calls__isnull=False).order_by("-index")
    began = with_calls.values_list("index", flat=True).first() or 0
    words_only = list(run.filter(index__gt=began))
    if not words_only:
        last = run.order_by("-index").values_list("response", flat=True).first()
        return "" if last is None else text_of(last)
    transcript = Transcript(context=Context(head=[]), limits=limits_of(task), started=0.0)
    for step in words_only:
        transcript.add(turn_of(step))
    return facts_of(transcript).last_words


def _spent(run: QuerySet[Step]) -> Spent:
    spent = Spent()
    for usage in run.values_list("usage", flat=True).iterator(chunk_size=_PORTION):
        spent.add(usage_of(usage))
    return spent
