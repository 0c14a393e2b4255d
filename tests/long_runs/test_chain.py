"""A run that is much longer than the model's window does its work once, and ends."""

from __future__ import annotations

from collections import Counter

import pytest

from tasks_app.api.responses.tasks import TaskResponse
from tasks_app.models import AgentTask, ContextSummary, Step
from tasks_app.queries.events import read_events
from tasks_app.queries.tasks import find_task
from tasks_app.queries.transcript import (
    MessageType,
    TranscriptCursor,
    TranscriptMessage,
    read_transcript,
)
from tasks_app.worker.database import Database
from tests.long_runs.play import MODEL, Play, new_task
from tests.long_runs.stage import (
    ORDER,
    SKILL_WORD,
    TASK_WORD,
    WindowedModel,
    chain_policy,
    chain_tools,
)
from tests.support.model_server import plain

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]


@pytest.mark.parametrize("names_window", [True, False])
async def test_500_keys_are_followed_once_in_a_window_of_16_000_that_nobody_tells(
    database: Database, names_window: bool
) -> None:
    task = await database.run(new_task)
    model = WindowedModel(chain_policy(500), window=16_000, names_window=names_window)
    tools = chain_tools()
    await Play(database=database, answer=model, tools=tools).perform(task)
    assert (task.status, task.report) == (
        "COMPLETED",
        f"done at 500: {TASK_WORD} {SKILL_WORD}",
    )
    assert [arguments for _, _, arguments in tools.sent] == [{"key": key} for key in range(500)]
    assert model.refused <= 2
    assert model.summaries >= 3
    await database.run(check_books, task, model)


async def test_500_keys_are_followed_in_a_window_of_32_000_that_the_provider_tells(
    database: Database,
) -> None:
    task = await database.run(new_task)
    model = WindowedModel(chain_policy(500), window=32_000, names_window=False)
    tools = chain_tools()
    entry = {"id": MODEL, "context_length": 200_000, "top_provider": {"context_length": 32_000}}
    listing = plain({"data": [{"id": "another/model", "context_length": 8_000}, entry]})
    await Play(database=database, answer=model, tools=tools, windows=listing).perform(task)
    assert (task.status, task.report) == (
        "COMPLETED",
        f"done at 500: {TASK_WORD} {SKILL_WORD}",
    )
    assert [arguments for _, _, arguments in tools.sent] == [{"key": key} for key in range(500)]
    assert (model.refused, model.largest <= 32_000) == (0, True)
    await database.run(check_books, task, model)
    last = await database.run(lambda: Step.objects.filter(task=task).latest("index"))
    assert (last.request["context"]["window"], last.request["context"]["source"]) == (
        32_000,
        "provider",
    )


def check_books(task: AgentTask, model: WindowedModel) -> None:
    """What the summaries used up is in the task's counts, and no step's."""
    summaries = ContextSummary.objects.filter(task=task)
    assert summaries.count() == task.summaries_made == model.summaries
    steps = Step.objects.filter(task=task)
    assert steps.count() == task.steps_completed == 502
    told = [*steps.values_list("usage", flat=True), *summaries.values_list("usage", flat=True)]
    assert sum(usage["input_tokens"] for usage in told) == task.input_tokens
    assert task.schema_version == 2
    check_answers(task, model)


def check_answers(task: AgentTask, model: WindowedModel) -> None:
    """A poll, the events and the transcript tell of the summaries."""
    view = find_task(task_id=task.id, tenant_id=task.tenant_id)
    assert view is not None
    assert TaskResponse.of(view, links={}).usage.llm_calls == 502 + model.summaries
    page = read_events(task_id=task.id, tenant_id=task.tenant_id, after=None, limit=10_000)
    assert page is not None
    compacted = [each.data for each in page.events if each.type == "agent_task.compacted"]
    assert len(compacted) == model.summaries
    assert all(data["tokens_after"] < data["tokens_before"] for data in compacted)
    messages: list[TranscriptMessage] = []
    place = TranscriptCursor()
    while True:
        found = read_transcript(task_id=task.id, tenant_id=task.tenant_id, place=place, limit=97)
        assert found is not None
        messages += found.messages
        if found.next is None:
            break
        place = found.next
    kinds = Counter(each.type.value for each in messages)
    assert (kinds["summary"], kinds["tool_result"]) == (model.summaries, 501)
    summaries = [each.text for each in messages if each.type is MessageType.SUMMARY]
    assert all("These have happened. Do not do them again." in text for text in summaries)


@pytest.mark.parametrize("window", [16_000])
async def test_a_worker_that_takes_over_sends_the_same_bytes(
    database: Database, window: int
) -> None:
    task = await database.run(new_task)
    model = WindowedModel(chain_policy(150), window=window, names_window=True)
    tools = chain_tools()
    play = Play(
        database=database,
        answer=model,
        tools=tools,
        kills=lambda number, request: number % 9 == 4 or ORDER.encode() in request.body,
    )
    await play.perform(task)
    assert (task.status, task.report) == (
        "COMPLETED",
        f"done at 150: {TASK_WORD} {SKILL_WORD}",
    )
    assert [arguments for _, _, arguments in tools.sent] == [{"key": key} for key in range(150)]
    assert len(play.pairs) >= 17
    assert sum(ORDER.encode() in killed for killed, _ in play.pairs) >= 2
    for killed, other in play.pairs:
        assert killed == other
