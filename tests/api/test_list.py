"""Listing tasks: the newest first, a page at a time, by what they are, and nobody else's."""

from __future__ import annotations

import datetime
import uuid
from typing import Any
from urllib.parse import urlencode

import pytest

from caylex_project.accounts.models import EndUser, Project
from tasks_app.models import AgentTask, TaskMetadata
from tasks_app.queries.task_list import MAX_COUNTED, TaskCursor, decode_cursor, encode_cursor
from tests.api.test_poll import later, make_task, running
from tests.support.accounts import SUBMIT, Account, Caller

ITEM_KEYS = {
    *("task_id", "session_id", "project_id", "status", "terminal", "stop_reason", "error"),
    *("model", "skill", "user_email", "metadata", "usage", "cancel_requested_at"),
    *("created_at", "started_at", "completed_at"),
}


def ask(backend: Caller, query: str = "", **parameters: Any) -> Any:
    text = query or urlencode(parameters, doseq=True)
    return backend.client.get(f"{SUBMIT}?{text}", headers=backend.account.bearer)


def read(backend: Caller, query: str = "", **parameters: Any) -> dict[str, Any]:
    answer = ask(backend, query, **parameters)
    assert answer.status_code == 200, answer.content
    page: dict[str, Any] = answer.json()
    return page


def ids(page: dict[str, Any]) -> list[str]:
    return [item["task_id"] for item in page["items"]]


def tag(task: AgentTask, **pairs: str) -> AgentTask:
    for key, value in pairs.items():
        TaskMetadata.objects.create(
            task=task, tenant_id=task.tenant_id, key=key, value=value, created_at=task.created_at
        )
    return task


def test_an_item_says_in_short_what_a_poll_says(backend: Caller, acme: Account) -> None:
    task_id = backend.submit(prompt="a secret plan", metadata={"order": "17"}).json()["task_id"]
    page = read(backend)
    poll = backend.poll(task_id).json()

    (item,) = page["items"]
    assert set(item) == ITEM_KEYS
    assert item["project_id"] == str(acme.project.id)
    assert item["metadata"] == {"order": "17"}
    assert {key: item[key] for key in ITEM_KEYS - {"project_id"}} == {
        key: poll[key] for key in ITEM_KEYS - {"project_id"}
    }
    assert "secret plan" not in str(page)
    assert page["meta"] == {
        "size": 20,
        "total": 1,
        "next_cursor": None,
        "has_next": False,
        "has_prev": False,
    }


def test_no_tasks_are_an_empty_page(backend: Caller) -> None:
    page = read(backend)
    assert (page["items"], page["meta"]["total"], page["meta"]["has_next"]) == ([], 0, False)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8])
def test_pages_join_without_a_gap_or_a_double_where_times_are_equal_too(
    backend: Caller, acme: Account, size: int
) -> None:
    tasks = [make_task(acme, created_at=later(number // 3)) for number in range(7)]
    newest = sorted(tasks, key=lambda task: (task.created_at, task.id), reverse=True)
    seen: list[str] = []
    page = read(backend, size=size)
    while True:
        seen += ids(page)
        assert page["meta"]["total"] == 7
        assert page["meta"]["has_prev"] is (len(seen) > size)
        if not page["meta"]["has_next"]:
            break
        make_task(acme, created_at=later(1000)).delete()
        page = read(backend, size=size, cursor=page["meta"]["next_cursor"])

    assert page["meta"]["next_cursor"] is None
    assert seen == [str(task.id) for task in newest]


def test_an_empty_cursor_is_none(backend: Caller, acme: Account) -> None:
    task = make_task(acme)
    assert ids(read(backend, "cursor=")) == [str(task.id)]


def test_a_task_that_comes_in_between_shifts_nothing(backend: Caller, acme: Account) -> None:
    old, new = make_task(acme), make_task(acme, created_at=later(1))
    first = read(backend, size=1)
    make_task(acme, created_at=later(2))

    assert ids(first) == [str(new.id)]
    assert ids(read(backend, size=1, cursor=first["meta"]["next_cursor"])) == [str(old.id)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status=PENDING", ["other", "old"]),
        ("status=RUNNING", ["runs"]),
        ("status=RUNNING,COMPLETED", ["runs"]),
        ("status=RUNNING&status=PENDING", ["other", "runs", "old"]),
        ("status=FAILED", []),
        ("user_email=JOE@example.com", ["other"]),
        ("user_email=nobody@example.com", []),
        ("skill=weekly-report", ["runs"]),
        ("skill=Weekly%20Report", ["runs"]),
        ("skill=monthly", []),
        ("created_after=2026-06-18T15:00:01%2B00:00", ["other", "runs"]),
        ("created_after=2026-06-18T15:00:01+00:00", ["other", "runs"]),
        ("created_after=2026-06-18T17:00:01.987654%2B02:00", ["other", "runs"]),
        ("created_after=2026-06-18T15:00:01.987655Z", ["other"]),
        ("created_before=2026-06-18T15:00:02Z", ["runs", "old"]),
        ("created_before=2026-06-18T15:00:01.987654Z", ["old"]),
        ("metadata[order]=17", ["other", "runs"]),
        ("metadata%5Border%5D=17&metadata[env]=test", ["runs"]),
        ("metadata[order]=17&metadata[env]=live", []),
        ("metadata[order]=17&status=PENDING", ["other"]),
        ("metadata[order]=17&user_email=jane@example.com&skill=weekly-report", ["runs"]),
        ("metadata[order]=17&created_before=2026-06-18T15:00:02Z", ["runs"]),
        ("metadata[none]=", []),
    ],
)
def test_each_filter_finds_what_it_says_and_nothing_else(
    backend: Caller, acme: Account, rival: Account, query: str, found: list[str]
) -> None:
    joe = EndUser.objects.create(project=acme.project, email="joe@example.com")
    tasks = {
        "old": tag(make_task(acme), env="test"),
        "runs": tag(
            running(acme, created_at=later(1), skill_slug="weekly-report"), order="17", env="test"
        ),
        "other": tag(make_task(acme, created_at=later(2), end_user=joe), order="17"),
    }
    tag(make_task(rival, created_at=later(1), skill_slug="weekly-report"), order="17", env="live")

    page = read(backend, query)

    assert ids(page) == [str(tasks[name].id) for name in found]
    assert page["meta"]["total"] == len(found)


def test_metadata_pages_join_too(backend: Caller, acme: Account) -> None:
    tasks = [tag(make_task(acme, created_at=later(number // 2)), a="b") for number in range(5)]
    newest = sorted(tasks, key=lambda task: (task.created_at, task.id), reverse=True)
    first = read(backend, "metadata[a]=b&size=3")
    rest = read(backend, f"metadata[a]=b&size=3&cursor={first['meta']['next_cursor']}")

    assert ids(first) + ids(rest) == [str(task.id) for task in newest]


def test_a_project_is_a_filter_and_another_tenant_s_matches_nothing(
    backend: Caller, acme: Account, rival: Account
) -> None:
    other = Project.objects.create(tenant=acme.tenant, name="other")
    task = make_task(acme)
    make_task(rival)

    assert ids(read(backend, project_id=acme.project.id)) == [str(task.id)]
    for project_id in (other.id, rival.project.id, uuid.uuid4()):
        assert ids(read(backend, project_id=project_id)) == []


def test_another_tenant_sees_none_of_it_whatever_it_asks_for(
    stranger: Caller, acme: Account
) -> None:
    task = tag(make_task(acme, skill_slug="s"), a="b")
    cursor = encode_cursor(TaskCursor(created_at=later(9), task_id=task.id))

    for query in ("", "metadata[a]=b", "skill=s", "status=PENDING", f"cursor={cursor}"):
        assert read(stranger, query or "size=9")["items"] == []
    for query in ("user_email=jane@example.com", f"project_id={acme.project.id}"):
        assert read(stranger, query)["items"] == []


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("sort=asc", "sort", "unknown_parameter"),
        ("metadata=x", "metadata", "unknown_parameter"),
        ("metadata[a]=b&metadata[a]=c", "metadata[a]", "invalid_parameter"),
        ("metadata[]=b", "metadata[]", "invalid_parameter"),
        (f"metadata[{'k' * 65}]=b", f"metadata[{'k' * 65}]", "invalid_parameter"),
        (f"metadata[a]={'v' * 513}", "metadata[a]", "invalid_parameter"),
        ("&".join(f"metadata[{n}]=x" for n in range(6)), "metadata", "invalid_parameter"),
        ("status=done", "status", "invalid_parameter"),
        ("status=", "status", "invalid_parameter"),
        ("status=PENDING,", "status", "invalid_parameter"),
        ("user_email=nobody", "user_email", "invalid_parameter"),
        ("project_id=17", "project_id", "invalid_parameter"),
        ("skill=", "skill", "invalid_parameter"),
        (f"skill={'s' * 65}", "skill", "invalid_parameter"),
        ("created_after=yesterday", "created_after", "invalid_parameter"),
        ("created_after=2026-06-18T15:00:00", "created_after", "invalid_parameter"),
        ("created_before=0001-01-01T00:00:00%2B23:59", "created_before", "invalid_parameter"),
        ("size=0", "size", "invalid_parameter"),
        ("size=101", "size", "invalid_parameter"),
        ("size=5&size=6", "size", "invalid_parameter"),
        ("cursor=garbage", "cursor", "invalid_parameter"),
        (f"cursor={'=' * 32}", "cursor", "invalid_parameter"),
    ],
)
def test_what_cannot_be_read_is_400_and_named(
    backend: Caller, query: str, field: str, code: str
) -> None:
    answer = ask(backend, query)

    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("metadata[a]=%00", "metadata[a]"),
        ("metadata[%00]=a", r"metadata[\x00]"),
        ("size=1&skill=%00a", "skill"),
        ("status=PENDING&status=x%00", "status"),
        ("%00", r"\x00"),
    ],
)
def test_nul_is_refused_wherever_it_stands_and_the_parameter_named(
    backend: Caller, query: str, field: str
) -> None:
    for path in (SUBMIT, f"{SUBMIT}/{uuid.uuid4()}", f"{SUBMIT}/{uuid.uuid4()}/events"):
        answer = backend.client.get(f"{path}?{query}", headers=backend.account.bearer)

        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter"), path
        assert [each["field"] for each in answer.json()["errors"]] == [field]
    assert backend.client.get(f"{SUBMIT}?{query}").status_code == 401  # whoever asks comes first


def test_a_cursor_holds_a_place_to_the_microsecond_and_an_odd_one_is_harmless(
    backend: Caller, acme: Account
) -> None:
    place = TaskCursor(created_at=later(5), task_id=uuid.uuid4())
    task = make_task(acme)

    assert decode_cursor(encode_cursor(place)) == place
    assert ids(read(backend, cursor="_" * 32)) == [str(task.id)]
    assert ids(read(backend, cursor="A" * 32)) == []


def test_a_total_is_told_up_to_a_thousand(backend: Caller, acme: Account) -> None:
    task = make_task(acme)
    same = {
        "tenant": acme.tenant,
        "project": acme.project,
        "navigator": acme.navigator,
        "end_user_id": task.end_user_id,
        "created_at": task.created_at,
        "next_attempt_at": task.created_at,
    }
    AgentTask.objects.bulk_create(AgentTask(**same) for _ in range(MAX_COUNTED - 1))
    assert read(backend, size=1)["meta"]["total"] == MAX_COUNTED
    AgentTask.objects.create(**same)
    assert read(backend, size=1)["meta"]["total"] is None


@pytest.mark.parametrize("query", ["", "status=PENDING", "metadata[a]=b"])
def test_a_page_of_many_costs_as_few_queries_as_a_page_of_one(
    backend: Caller, acme: Account, django_assert_num_queries: Any, query: str
) -> None:
    for number in range(5):
        tag(running(acme, created_at=later(number)), a="b", c="d")
        tag(make_task(acme, created_at=later(number)), a="b", c="d")
    with django_assert_num_queries(4):  # the token, the ids, the tasks, the count
        assert len(read(backend, f"{query}&size=4")["items"]) == 4
    with django_assert_num_queries(3):  # what is all there is tells its own number
        page = read(backend, query)
    assert page["meta"]["total"] == len(page["items"]) > 4


def test_both_slash_forms_work_and_without_a_token_there_is_no_list(
    backend: Caller, acme: Account
) -> None:
    make_task(acme)
    assert backend.client.get(f"{SUBMIT}/", headers=acme.bearer).json()["meta"]["total"] == 1
    assert backend.client.get(SUBMIT).status_code == 401


def test_times_are_shown_in_whole_seconds_and_found_by_what_is_shown(
    backend: Caller, acme: Account
) -> None:
    make_task(acme)
    shown = read(backend)["items"][0]["created_at"]

    assert shown == "2026-06-18T15:00:00+00:00"
    assert len(read(backend, created_after=shown)["items"]) == 1
    assert read(backend, created_before=shown)["items"] == []
    assert later(0) - datetime.datetime.fromisoformat(shown) < datetime.timedelta(seconds=1)
