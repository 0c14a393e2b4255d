"""The transcript of a task and the trace of its session, read back page by page."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from django.utils import timezone

from agent_runtime.messages import CallState
from tasks_app.api.openapi.sessions import TRACE, TRANSCRIPT
from tasks_app.models import AgentTask, Event
from tests.api.test_poll import make_task
from tests.support.accounts import SUBMIT, Account, Caller
from tests.support.factories import StepFactory, ToolCallFactory
from tests.support.journal_rows import lived

SKILL = {"id": str(uuid.UUID(int=5)), "name": "Weekly", "slug": "weekly", "source": "project"}


def read(backend: Caller, path: str) -> dict[str, Any]:
    answer = backend.client.get(f"/api/v1/{path}", headers=backend.account.bearer)
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return body


def transcript(backend: Caller, task: AgentTask, query: str = "") -> dict[str, Any]:
    return read(backend, f"agent-task/{task.id}/transcript{query}")


def trace(backend: Caller, task: AgentTask, query: str = "") -> dict[str, Any]:
    return read(backend, f"queries/query-logs/{task.session_id}/trace{query}")


def told(page: dict[str, Any]) -> list[tuple[int, str, str, str]]:
    return [
        (
            each["sequence_number"],
            each["role"],
            each["message_type"],
            "".join(part["text"] for part in each["content"]),
        )
        for each in page["messages"]
    ]


def conversed(account: Account) -> AgentTask:
    """Return a task of two runs: one that ended, and one that the caller continued."""
    task = make_task(account, required_skill=SKILL, run_number=2, sequence=9)
    first = StepFactory.create(
        task=task,
        index=1,
        sequence=2,
        request={"schema": 1, "notes": [], "system": "system-canary", "revisions": {}},
        response={"role": "assistant", "content": "I look.", "tool_calls": [{"id": "call_0"}]},
    )
    for index, result in enumerate(("61", "no")):
        state = "succeeded" if index == 0 else "failed"
        ToolCallFactory.create(
            step=first, index=index, state=state, result=result, completed_at=timezone.now()
        )
    StepFactory.create(task=task, index=2, sequence=5, request={"schema": 1, "notes": ["Go on."]})
    StepFactory.create(
        task=task,
        run_number=2,
        index=1,
        sequence=8,
        request={"schema": 1, "notes": ["The last run ended.", "And sign-in?"]},
        response={"role": "assistant", "content": [{"type": "text", "text": "48"}]},
    )
    return task


def continued(task: AgentTask) -> None:
    Event.objects.create(
        task=task, sequence=7, kind="continued", data={"run_number": 2}, at=timezone.now()
    )


WHOLE = [
    (2, "user", "user_message", "Count."),
    (3, "assistant", "tool_calls", "I look."),
    (4, "tool", "tool_result", "61"),
    (5, "tool", "tool_result", "no"),
    (6, "user", "runtime_note", "Go on."),
    (7, "assistant", "assistant_message", "words"),
    (8, "user", "runtime_note", "The last run ended."),
    (9, "user", "user_message", "And sign-in?"),
    (10, "assistant", "assistant_message", "48"),
]


def test_a_transcript_tells_who_said_what_and_never_the_system_prompt(
    backend: Caller, acme: Account
) -> None:
    continued(task := conversed(acme))
    page = transcript(backend, task)

    (number, role, kind, text), *rest = told(page)
    assert (number, role, kind) == (1, "user", "runtime_note")
    assert text.startswith(f"First call load_skill with the id {SKILL['id']}")
    assert rest == WHOLE
    assert (page["task_id"], page["status"]) == (str(task.id), "PENDING")
    assert (page["next_cursor"], page["has_more"]) == (None, False)
    assert set(page) == set(TRANSCRIPT)
    assert set(page["messages"][0]) == set(TRANSCRIPT["messages"][0])
    assert "system-canary" not in json.dumps(page)
    assert len({each["id"] for each in page["messages"]}) == 10


def test_what_the_runtime_says_to_a_later_run_is_not_the_users(
    backend: Caller, acme: Account
) -> None:
    kinds = [kind for _, _, kind, _ in told(transcript(backend, conversed(acme)))]

    assert kinds[7:9] == ["runtime_note", "runtime_note"]


@pytest.mark.parametrize("limit", range(1, 11))
def test_pages_of_any_size_join_to_the_whole_transcript(
    backend: Caller, acme: Account, limit: int
) -> None:
    continued(task := conversed(acme))
    seen: list[tuple[int, str, str, str]] = []
    query = f"?limit={limit}"
    while True:
        page = transcript(backend, task, query)
        assert len(page["messages"]) <= limit
        seen += told(page)
        assert page["has_more"] is (page["next_cursor"] is not None)
        if not page["has_more"]:
            break
        query = f"?limit={limit}&cursor={page['next_cursor']}"

    assert seen[1:] == WHOLE


def test_results_are_told_together_once_the_last_call_of_the_step_has_ended(
    backend: Caller, acme: Account
) -> None:
    task = make_task(acme)
    step = StepFactory.create(task=task, index=1, sequence=1)
    now = timezone.now()
    ToolCallFactory.create(step=step, index=0, state="succeeded", result="a", completed_at=now)
    last = ToolCallFactory.create(step=step, index=1, state="started")
    assert [text for *_, text in told(transcript(backend, task))] == ["Count.", "words"]

    last.state, last.result, last.completed_at = CallState.UNKNOWN_OUTCOME.value, "lost", now
    last.save()
    assert [text for *_, text in told(transcript(backend, task))] == [
        "Count.",
        "words",
        "a",
        "lost",
    ]


def test_a_page_of_a_long_transcript_costs_what_one_of_a_short_one_does(
    backend: Caller, acme: Account, django_assert_num_queries: Any
) -> None:
    task = make_task(acme)
    for index in range(1, 31):
        step = StepFactory.create(task=task, index=index, sequence=index)
        ToolCallFactory.create(
            step=step, index=0, state="succeeded", result="x", completed_at=timezone.now()
        )
    with django_assert_num_queries(4):  # the token, the task, steps, calls
        page = transcript(backend, task, "?limit=20")
    assert page["messages"][-1]["sequence_number"] == 20
    with django_assert_num_queries(4):
        page = transcript(backend, task, f"?limit=20&cursor={page['next_cursor']}")
    assert [each["sequence_number"] for each in page["messages"]] == list(range(21, 41))


def test_a_trace_groups_the_calls_of_a_step(backend: Caller, acme: Account) -> None:
    page = trace(backend, task := lived(acme))

    (group,) = page["tool_call_groups"]
    assert page["meta"] == {"total_groups": 1, "offset": 0, "limit": 50, "has_next": False}
    assert group["id"] == str(task.steps.get(index=1).id)
    first, second, refused = group["tool_calls"]
    assert set(first) == set(TRACE["tool_call_groups"][0]["tool_calls"][0])
    assert first["parameters"] == {"secret": "word"}
    assert first["tool"] == {"name": "search", "server": {"name": "tickets"}}
    assert [(each["success"], each["result_data"]) for each in (first, second, refused)] == [
        (True, {"status": "succeeded", "text": "61"}),
        (False, {"status": "failed", "text": "no"}),
        (False, {"status": "failed", "text": "There is no such tool."}),
    ]


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ('{"a": [1, null]}', {"a": [1, None]}),
        ("7", "7"),
        ('{"a": 1, "a": 2}', '{"a": 1, "a": 2}'),
        ("", ""),
        ('{"a": ', '{"a": '),
        ('{"a": NaN}', '{"a": NaN}'),
        ('{"a": 1e400}', '{"a": 1e400}'),
        (r'{"a": "\ud800"}', r'{"a": "\ud800"}'),
        ("[" * 5000, "[" * 5000),
        ('{"a": ' + "[" * 900 + "]" * 900 + "}", '{"a": ' + "[" * 900 + "]" * 900 + "}"),
        ('{"a": ' + "9" * 5000 + "}", '{"a": ' + "9" * 5000 + "}"),
    ],
)
def test_parameters_are_the_models_object_or_its_text(
    backend: Caller, acme: Account, arguments: str, parameters: Any
) -> None:
    step = StepFactory.create(task=make_task(acme), index=1, sequence=1)
    ToolCallFactory.create(step=step, index=0, arguments=arguments, server="", tool="")
    ((call,),) = [each["tool_calls"] for each in trace(backend, step.task)["tool_call_groups"]]

    assert call["parameters"] == parameters
    assert (call["success"], call["result_data"]) == (None, {"status": "planned", "text": None})
    assert call["tool"] == {"name": "fake__search", "server": {"name": ""}}


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_of_a_trace_join_in_the_order_of_the_steps_and_none_is_without_calls(
    backend: Caller, acme: Account, limit: int, django_assert_num_queries: Any
) -> None:
    task = make_task(acme)
    expected = []
    for index in range(1, 8):
        step = StepFactory.create(task=task, index=index, sequence=index)
        if index % 3:
            expected.append(str(ToolCallFactory.create(step=step, index=0).id))
    seen: list[str] = []
    while True:
        with django_assert_num_queries(5):  # the token, tasks, steps, calls, the count
            page = trace(backend, task, f"?offset={len(seen)}&limit={limit}")
        seen += [group["tool_calls"][0]["id"] for group in page["tool_call_groups"]]
        if not page["meta"]["has_next"]:
            break

    assert seen == expected
    assert page["meta"]["total_groups"] == 5
    assert trace(backend, task, "?offset=1000000")["tool_call_groups"] == []


def test_another_tenant_has_neither(stranger: Caller, acme: Account) -> None:
    task = lived(acme)
    for path, code in (
        (f"{SUBMIT}/{task.id}/transcript", "task_not_found"),
        (f"{SUBMIT}/{task.id}/transcript?cursor=2-1-2", "task_not_found"),
        (f"/api/v1/queries/query-logs/{task.session_id}/trace", "session_not_found"),
        (f"/api/v1/queries/query-logs/{uuid.uuid4()}/trace", "session_not_found"),
        ("/api/v1/queries/query-logs/x/trace", "session_not_found"),
    ):
        answer = stranger.client.get(path, headers=stranger.account.bearer)
        assert (answer.status_code, answer.json()["code"]) == (404, code)
        assert stranger.client.get(path).status_code == 401


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=101", "limit=x", "cursor=1", "cursor=1-2-x"),
        *("cursor=9999999999-0-0", "cursor=-1-0-0", "cursor=%D9%A1-0-0", "cursor=1-2-3-4"),
    ],
)
def test_a_bad_parameter_of_a_transcript_is_400_and_named(
    backend: Caller, acme: Account, query: str
) -> None:
    path = f"{SUBMIT}/{make_task(acme).id}/transcript?{query}"
    answer = backend.client.get(path, headers=acme.bearer)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
    assert answer.json()["errors"][0]["field"] == query.split("=")[0]


def test_an_empty_cursor_is_none(backend: Caller, acme: Account) -> None:
    task = lived(acme)
    assert transcript(backend, task, "?cursor=") == transcript(backend, task)


def test_a_made_up_cursor_is_harmless(backend: Caller, acme: Account) -> None:
    task = lived(acme)
    for cursor in ("999999999-999999999-999999999", "0-7-0", "2-999999999-0"):
        assert transcript(backend, task, f"?cursor={cursor}")["task_id"] == str(task.id)
