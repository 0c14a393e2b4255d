"""A summary that fails never fails the run; one that is broken off is asked for again."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import stamina
from django.utils import timezone

from agent_runtime.llm.chat_completions import ChatCompletionsModel
from agent_runtime.testing import FakeTools
from tasks_app.models import AgentTask, ContextSummary, Event, ToolCall
from tasks_app.operations.runs import continue_task, retry
from tasks_app.worker.database import Database
from tasks_app.worker.execution.active_task import ActiveTask
from tasks_app.worker.execution.driver import Driver
from tasks_app.worker.journal.journal import Journal
from tests.long_runs.play import SKILL_BODY, Play, new_task
from tests.long_runs.stage import (
    ORDER,
    SKILL_WORD,
    TASK_WORD,
    WindowedModel,
    Wire,
    chain_policy,
    chain_tools,
)
from tests.support.engine_rows import a_driver, a_worker, claim_all, take
from tests.support.model_server import (
    Recorded,
    Reply,
    ScriptedModel,
    Until,
    ask,
    delta,
    plain,
    say,
    stream,
)
from tests.unit.llm.conftest import KEY

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

BLANK = say("   ")
CUT_OFF = stream(delta(role="assistant", content="goal: fol"), delta("length"))
REFUSED = plain({"error": {"message": "no summaries here"}}, status=400)
TOO_LONG = plain({"error": {"message": "prompt is too long"}}, status=400)
AWAY = plain({"error": {"message": "later"}}, status=503)
A_CALL = ask(("fake__follow", {"key": 9_999}))


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2, cap=True):
        yield


def with_bad_summaries(bad: Reply, *, length: int, times: int = 10**9) -> Callable[[Wire], Reply]:
    """The chain's model, whose first summaries are `bad`."""
    good = chain_policy(length)
    left = [times]

    def policy(messages: Wire) -> Reply:
        if ORDER in str(messages[-1]["content"]) and left[0] > 0:
            left[0] -= 1
            return bad
        return good(messages)

    return policy


@pytest.mark.parametrize(
    "bad", [BLANK, CUT_OFF, REFUSED, A_CALL], ids=["blank", "cut", "400", "call"]
)
async def test_after_a_failed_summary_the_context_is_masked_harder(
    database: Database, bad: Reply
) -> None:
    task = await database.run(new_task)
    model = WindowedModel(
        with_bad_summaries(bad, length=90, times=1), window=16_000, names_window=True
    )
    tools = chain_tools()
    play = Play(
        database=database,
        answer=model,
        tools=tools,
        kills=lambda number, _: number % 20 == 19,
    )
    await play.perform(task)
    assert (task.status, task.report) == ("COMPLETED", f"done at 90: {TASK_WORD} {SKILL_WORD}")
    assert [arguments for _, _, arguments in tools.sent] == [{"key": key} for key in range(90)]
    rows = await database.run(
        lambda: list(ContextSummary.objects.filter(task=task).order_by("number"))
    )
    assert len(rows) == task.summaries_made >= 2
    assert [bool(row.text) for row in rows] == [False] + [True] * (len(rows) - 1)
    assert (rows[0].usage is None) is (bad is REFUSED)
    told = await database.run(lambda: Event.objects.filter(task=task, kind="compacted").count())
    assert told == len(rows) - 1
    assert all(killed == other for killed, other in play.pairs)
    assert len(play.pairs) >= 4


async def test_a_run_without_any_summary_ends_with_an_account_once_nothing_fits(
    database: Database,
) -> None:
    task = await database.run(new_task)
    model = WindowedModel(with_bad_summaries(BLANK, length=90), window=16_000, names_window=True)
    tools = chain_tools()
    await Play(database=database, answer=model, tools=tools).perform(task)
    assert (task.status, task.stop_reason) == ("INCOMPLETE", "context_full")
    done = len(tools.sent)
    assert 40 < done < 90
    assert task.report is not None
    assert f"Tool calls that succeeded: load_skill, fake__follow ({done})." in task.report


async def test_a_summary_that_is_refused_for_its_length_is_asked_for_with_less(
    database: Database,
) -> None:
    task = await database.run(new_task)
    policy = with_bad_summaries(TOO_LONG, length=60, times=3)
    model = WindowedModel(policy, window=16_000, names_window=True)
    play = Play(database=database, answer=model, tools=chain_tools())
    await play.perform(task)
    assert task.report == f"done at 60: {TASK_WORD} {SKILL_WORD}"
    asked = [len(body) for body in play.requests if ORDER.encode() in body][:4]
    assert asked == sorted(asked, reverse=True)
    assert len(set(asked)) == 4
    assert task.summaries_made >= 1


async def test_a_provider_that_is_away_makes_the_task_wait_and_the_summary_comes_later(
    database: Database,
) -> None:
    task = await database.run(new_task)
    policy = with_bad_summaries(AWAY, length=60, times=2)
    model = WindowedModel(policy, window=16_000, names_window=True)
    play = Play(database=database, answer=model, tools=chain_tools())
    await play.perform(task)
    assert (task.status, task.attempt) == ("PENDING", 1)
    assert task.waiting_reason
    assert task.summaries_made == 0
    await database.run(
        lambda: AgentTask.objects.filter(pk=task.pk).update(next_attempt_at=timezone.now())
    )
    await play.perform(task)
    assert task.report == f"done at 60: {TASK_WORD} {SKILL_WORD}"
    assert task.summaries_made >= 1


async def held_up_in_a_summary(
    database: Database, task: AgentTask, then: Callable[[Driver, ActiveTask], None]
) -> None:
    """Drive until a summary is asked for, whose answer comes a moment after `then`."""
    model = WindowedModel(chain_policy(60), window=16_000, names_window=True)
    loop, reached, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def answer(request: Recorded) -> Reply:
        reply = model(request)
        if ORDER.encode() not in request.body:
            return reply
        loop.call_soon_threadsafe(reached.set)
        return Reply([Until(go_on), *reply.parts], reply.status, reply.headers)

    with ScriptedModel(answer=answer) as server:
        port = ChatCompletionsModel(base_url=server.base_url, api_key=KEY, stall_seconds=20)
        (claim,) = await database.run(lambda: claim_all(a_worker()))
        driver = a_driver(port)
        held = await take(database, claim, chain_tools(), Journal(database), skill=SKILL_BODY)
        driving = asyncio.create_task(driver.drive(held))
        await asyncio.wait_for(reached.wait(), 30)
        then(driver, held)
        loop.call_later(0.3, go_on.set)
        await driving
        went_on = go_on.is_set()
        go_on.set()
        await port.close()
    await database.run(task.refresh_from_db)
    assert went_on is not held.cancelling.done(), "a cancel waits for no answer"


async def test_a_drain_hands_the_task_back_in_the_commit_of_the_summary(
    database: Database,
) -> None:
    task = await database.run(new_task)
    await held_up_in_a_summary(database, task, lambda driver, _: driver.draining.set())
    assert (task.status, task.summaries_made, task.attempt) == ("PENDING", 1, 0)
    events = await database.run(
        lambda: list(Event.objects.filter(task=task).order_by("sequence").values("kind", "data"))
    )
    assert [event["kind"] for event in events] == ["started", "compacted", "handed_back"]
    assert events[1]["data"]["tokens_after"] < events[1]["data"]["tokens_before"]


async def test_a_cancel_gives_the_summary_up_at_once(database: Database) -> None:
    task = await database.run(new_task)
    await held_up_in_a_summary(database, task, lambda _, held: held.cancel("Enough."))
    assert (task.status, task.stop_reason, task.summaries_made) == ("INCOMPLETE", "cancelled", 0)


async def test_a_continued_task_keeps_its_summary_and_the_callers_words(
    database: Database,
) -> None:
    task = await database.run(new_task)
    tools = chain_tools()
    model = WindowedModel(chain_policy(60), window=16_000, names_window=True)
    await Play(database=database, answer=model, tools=tools).perform(task)
    made = task.summaries_made
    assert made >= 1
    for number, length in ((2, 120), (3, 180)):
        await database.run(
            partial(
                continue_task,
                task_id=task.id,
                tenant_id=task.tenant_id,
                message=f"further-word-{number}",
                now=timezone.now(),
            )
        )
        model = WindowedModel(chain_policy(length), window=16_000, names_window=True)
        play = Play(
            database=database,
            answer=model,
            tools=tools,
            kills=lambda number, request: number % 15 == 3 or ORDER.encode() in request.body,
        )
        await play.perform(task)
        assert (task.status, task.report) == (
            "COMPLETED",
            f"done at {length}: {TASK_WORD} {SKILL_WORD}",
        )
        assert all(killed == other for killed, other in play.pairs)
        asked = [body for body in play.requests if ORDER.encode() not in body]
        missing = [body for body in asked if f"further-word-{number}".encode() not in body]
        assert not len(missing)
    assert b"further-word-2" in play.requests[-1]
    assert [arguments for _, _, arguments in tools.sent] == [{"key": key} for key in range(180)]
    assert task.summaries_made > made


async def test_a_retried_task_goes_on_behind_its_summary(database: Database) -> None:
    task = await database.run(new_task)
    await database.run(
        lambda: AgentTask.objects.filter(pk=task.pk).update(limits={**task.limits, "max_steps": 70})
    )
    tools = chain_tools()
    model = WindowedModel(chain_policy(100), window=16_000, names_window=True)
    await Play(database=database, answer=model, tools=tools).perform(task)
    assert (task.status, task.stop_reason) == ("INCOMPLETE", "max_steps")
    made = task.summaries_made
    assert made >= 1
    await database.run(lambda: retry(task_id=task.id, tenant_id=task.tenant_id, now=timezone.now()))
    await Play(database=database, answer=model, tools=tools).perform(task)
    assert (task.status, task.report) == ("COMPLETED", f"done at 100: {TASK_WORD} {SKILL_WORD}")
    assert [arguments for _, _, arguments in tools.sent] == [{"key": key} for key in range(100)]


def mails(count: int) -> Callable[[Wire], Reply]:
    """A model that sends a mail to each of whom it sees no answer about, in order."""

    def policy(messages: Wire) -> Reply:
        text = json.dumps(messages)
        if ORDER in str(messages[-1]["content"]):
            return say("goal: one mail to each person")
        if SKILL_WORD not in text:
            return chain_policy(0)(messages)
        results = " ".join(str(each["content"]) for each in messages if each["role"] == "tool")
        missing = [to for to in range(count) if f"sent to {to}." not in results]
        return ask(("fake__send", {"to": missing[0]})) if missing else say("all sent")

    return policy


async def test_a_forgetful_model_makes_no_second_effect(database: Database) -> None:
    task = await database.run(new_task)
    tools = FakeTools({"send": lambda a: f"sent to {a['to']}. " + "y" * 1_500})
    model = WindowedModel(mails(300), window=20_000, names_window=True)
    play = Play(
        database=database, answer=model, tools=tools, kills=lambda number, _: number % 50 == 49
    )
    await play.perform(task)
    sent = [arguments["to"] for _, _, arguments in tools.sent]
    assert len(sent) == len(set(sent)) >= 30
    assert task.stop_reason in ("final_report", "loop_detected")
    held = await database.run(
        lambda: list(
            ToolCall.objects.filter(
                step__task=task, refused=True, state="failed", result__startswith="Not sent: "
            ).values_list("result", flat=True)
        )
    )
    assert len(held) >= 10
    assert all("this task made the same call at 20" in (result or "") for result in held)
