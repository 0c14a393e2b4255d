"""The events of a task as pages: each once, in order, read from what the engine wrote."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from agent_runtime.messages import CallState
from tasks_app.models import AgentTask, Event
from tasks_app.operations.cancel import cancel
from tasks_app.operations.runs import retry
from tasks_app.queries import events
from tasks_app.states import Status
from tasks_app.worker.journal.entries import Release
from tests.api.test_poll import make_task
from tests.support.accounts import SUBMIT, Account, Caller
from tests.support.journal_rows import WHOLE, a_call, a_step, claim, commit, lived


def read(backend: Caller, task: AgentTask, query: str = "") -> dict[str, Any]:
    """Return one page of the task's events."""
    answer = backend.client.get(f"{SUBMIT}/{task.id}/events{query}", headers=backend.account.bearer)
    assert answer.status_code == 200, answer.content
    page: dict[str, Any] = answer.json()
    return page


def told(page: dict[str, Any]) -> list[tuple[int, str]]:
    """Return numbers and types, the types without what they share."""
    return [(each["id"], each["type"].removeprefix("agent_task.")) for each in page["events"]]


def test_a_task_s_life_is_told_in_full_and_in_order(backend: Caller, acme: Account) -> None:
    page = read(backend, task := lived(acme))

    assert told(page) == WHOLE
    assert {name: page[name] for name in page if name != "events"} == {
        "task_id": str(task.id),
        "status": "COMPLETED",
        "terminal": True,
        "next_starting_after": 10,
        "has_more": False,
    }


def test_an_event_says_what_it_is_about_and_neither_arguments_nor_who_held_the_task(
    backend: Caller, acme: Account
) -> None:
    page = read(backend, lived(acme))
    by_number = {each["id"]: each["data"] for each in page["events"]}

    assert by_number[0] == {"status": "PENDING", "model": "a/model"}
    assert by_number[1] == {}
    assert by_number[2]["usage"]["input_tokens"] == 7
    assert (by_number[2]["step"], by_number[9]["step"]) == (1, 2)
    call = by_number[3]
    assert (call["server"], call["tool"], call["step"], call["run_number"]) == (
        *("tickets", "search"),
        *(1, 1),
    )
    assert by_number[6] == {**call, "state": "succeeded", "refused": False}
    assert (by_number[5]["state"], by_number[5]["refused"]) == ("failed", True)
    assert by_number[10] == {"status": "COMPLETED", "stop_reason": "final_report"}
    assert "secret" not in str(page)
    assert "worker" not in str(page)


@pytest.mark.parametrize("limit", range(1, 12))
def test_pages_of_any_size_join_without_a_gap_or_a_double(
    backend: Caller, acme: Account, limit: int
) -> None:
    task = lived(acme)
    seen: list[tuple[int, str]] = []
    query = f"?limit={limit}"
    while True:
        page = read(backend, task, query)
        assert len(page["events"]) <= limit
        seen += told(page)
        if not page["has_more"]:
            break
        query = f"?limit={limit}&starting_after={page['next_starting_after']}"

    assert seen == WHOLE


@pytest.mark.parametrize("after", range(11))
def test_it_goes_on_after_any_number(backend: Caller, acme: Account, after: int) -> None:
    page = read(backend, lived(acme), f"?starting_after={after}")
    assert told(page) == [each for each in WHOLE if each[0] > after]


def test_after_the_last_there_is_nothing_and_the_place_is_kept(
    backend: Caller, acme: Account
) -> None:
    page = read(backend, lived(acme), "?starting_after=77")

    assert (page["events"], page["next_starting_after"], page["has_more"]) == ([], 77, False)


def test_what_is_written_while_a_page_is_read_belongs_to_the_next(
    backend: Caller, acme: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(acme)
    claim(task)
    reading = events._iter_events

    def written_meanwhile(read_row: AgentTask, **values: Any) -> Iterator[events.TaskEvent]:
        commit(task, step=a_step(1))
        return reading(read_row, **values)

    monkeypatch.setattr(events, "_iter_events", written_meanwhile)
    first = read(backend, task)
    monkeypatch.undo()
    second = read(backend, task, f"?starting_after={first['next_starting_after']}")

    assert told(first) == [(0, "created"), (1, "started")]
    assert told(second) == [(2, "step.completed")]


def test_cancel_and_retry_are_told_and_a_cancelled_call_ends_once(
    backend: Caller, acme: Account
) -> None:
    task = make_task(acme)
    claim(task)
    call = a_call(0, CallState.PLANNED)
    handed_back = Release(status=Status.PENDING, event="handed_back", wait=0.0)
    commit(task, step=a_step(1), calls=(call,), release=handed_back)
    now = timezone.now()
    cancel(task_id=task.id, tenant_id=acme.tenant.id, reason="", now=now)
    retry(task_id=task.id, tenant_id=acme.tenant.id, now=now)
    claim(task)

    page = read(backend, task, "?starting_after=1")

    assert told(page) == [
        (2, "step.completed"),
        (3, "handed_back"),
        (4, "tool_call.completed"),
        (5, "incomplete"),
        (6, "retried"),
        (7, "resumed"),
    ]
    assert (page["status"], page["terminal"]) == ("RUNNING", False)
    assert page["events"][2]["data"]["state"] == "cancelled"
    assert page["events"][3]["data"] == {"status": "INCOMPLETE", "stop_reason": "cancelled"}


def test_another_tenant_s_task_has_no_events(
    backend: Caller, stranger: Caller, acme: Account
) -> None:
    task = lived(acme)
    for task_id in (task.id, uuid.uuid4(), "no-uuid"):
        answer = stranger.client.get(f"{SUBMIT}/{task_id}/events", headers=stranger.account.bearer)
        assert (answer.status_code, answer.json()["code"]) == (404, "task_not_found")


def test_without_a_token_there_are_no_events(backend: Caller, acme: Account) -> None:
    assert backend.client.get(f"{SUBMIT}/{lived(acme).id}/events").status_code == 401


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=501", "limit=", "limit=-1", "limit=1.5", "limit=x", "limit=%D9%A1"),
        *("starting_after=-1", "starting_after=2147483648", "starting_after=99999999999"),
    ],
)
def test_a_bad_parameter_is_400_and_named(backend: Caller, acme: Account, query: str) -> None:
    path = f"{SUBMIT}/{make_task(acme).id}/events?{query}"
    answer = backend.client.get(path, headers=acme.bearer)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
    assert answer.json()["errors"][0]["field"] == query.split("=")[0]


def test_both_slash_forms_and_the_borders_of_the_parameters_work(
    backend: Caller, acme: Account
) -> None:
    task = make_task(acme)
    for path in ("events", "events/", "events?limit=500", "events?limit=1"):
        answer = backend.client.get(f"{SUBMIT}/{task.id}/{path}", headers=acme.bearer)
        assert [each["id"] for each in answer.json()["events"]] == [0]
    assert read(backend, task, "?starting_after=2147483647")["events"] == []


def test_a_page_costs_as_much_for_the_last_events_of_a_long_task_as_for_a_short_one(
    backend: Caller, acme: Account, django_assert_num_queries: Any
) -> None:
    task = lived(acme)
    with django_assert_num_queries(7):  # the token, the task, events, steps, calls
        read(backend, task, "?starting_after=5")
    with django_assert_num_queries(2):
        read(backend, task, "?starting_after=10")


def test_times_are_in_whole_seconds_like_everywhere(backend: Caller, acme: Account) -> None:
    task = make_task(acme)
    at = datetime.datetime(2026, 6, 18, 15, 0, 9, 999999, tzinfo=datetime.UTC)
    AgentTask.objects.update(sequence=1)
    Event.objects.create(task=task, sequence=1, kind="waiting", data={"reason": "502"}, at=at)

    page = read(backend, task, "?starting_after=0")

    assert page["events"] == [
        {
            "id": 1,
            "type": "agent_task.waiting",
            "created_at": "2026-06-18T15:00:09+00:00",
            "data": {"reason": "502"},
        }
    ]
