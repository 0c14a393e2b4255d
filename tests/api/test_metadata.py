"""The caller's own pairs: kept, shown, changed, and found by."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks_app.models import AgentTask, TaskMetadata
from tests.api.test_poll import ended, make_task, running
from tests.api.test_submit import made_nothing, make_skill
from tests.support.accounts import SUBMIT, Account, Caller

FULL = {f"key{number}": "v" for number in range(16)}


def patch(backend: Caller, task_id: Any, body: Any) -> Any:
    return backend.client.patch(
        f"{SUBMIT}/{task_id}",
        json.dumps(body),
        content_type="application/json",
        headers=backend.account.bearer,
    )


def rows(task: AgentTask) -> dict[str, str]:
    """Return the pairs by which the task is found."""
    found = TaskMetadata.objects.filter(task=task, tenant_id=task.tenant_id)
    assert all(row.created_at == task.created_at for row in found)
    return {row.key: row.value for row in found}


def test_what_was_submitted_is_shown_and_kept_to_be_found_by(backend: Caller) -> None:
    pairs = {"order": "17", "k" * 64: "v" * 512, "empty": "", "\u00fc[x]": "\U0001f600"}
    task_id = backend.submit(metadata=pairs).json()["task_id"]
    task = AgentTask.objects.get(pk=task_id)

    assert backend.poll(task_id).json()["metadata"] == task.metadata == rows(task) == pairs


@pytest.mark.parametrize("metadata", [None, {}])
def test_none_are_none(backend: Caller, metadata: Any) -> None:
    task_id = backend.submit(metadata=metadata).json()["task_id"]

    assert backend.poll(task_id).json()["metadata"] == {}
    assert not TaskMetadata.objects.exists()


def test_sixteen_of_the_longest_that_are_allowed_fit_the_index(backend: Caller) -> None:
    wide = {f"{number:02}" + "\U0001f600" * 62: "\U0001f600" * 512 for number in range(16)}
    task_id = backend.submit(metadata=wide).json()["task_id"]

    assert rows(AgentTask.objects.get(pk=task_id)) == wide


@pytest.mark.parametrize(
    ("metadata", "field", "code"),
    [
        ([], "metadata", "invalid_type"),
        ("x", "metadata", "invalid_type"),
        ({**FULL, "one": "more"}, "metadata", "too_long"),
        ({"a": 5}, "metadata.a", "invalid_type"),
        ({"a": None}, "metadata.a", "invalid_type"),
        ({"a": {"b": "c"}}, "metadata.a", "invalid_type"),
        ({"a": "v" * 513}, "metadata.a", "too_long"),
        ({"": "v"}, "metadata.", "blank"),
        ({"k" * 65: "v"}, f"metadata.{'k' * 65}", "too_long"),
        ({"[key]": 5}, "metadata.[key]", "invalid_type"),
        ({"a": "\x00"}, "metadata.a", "invalid_text"),
        ({"a\x00": "b"}, r"metadata.a\x00", "invalid_text"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(
    backend: Caller, metadata: Any, field: str, code: str
) -> None:
    answer = backend.submit(metadata=metadata)

    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["errors"][0]["field"] == field
    assert made_nothing()


def test_a_key_that_is_too_long_is_told_apart_from_a_value(backend: Caller) -> None:
    key = backend.submit(metadata={"k" * 65: "v"}).json()["errors"][0]["message"]
    value = backend.submit(metadata={"k": "v" * 513}).json()["errors"][0]["message"]

    assert key == "A key has at most 64 characters."
    assert value == "This has at most 512 characters."


def test_other_metadata_under_one_idempotency_key_is_another_body(
    backend: Caller, acme: Account
) -> None:
    def send(metadata: dict[str, str]) -> int:
        body = json.dumps(acme.body(metadata=metadata))
        status: int = backend.post(body, headers={"Idempotency-Key": "a"}).status_code
        return status

    assert (send({"a": "b"}), send({"a": "b"}), send({"a": "c"})) == (202, 202, 422)
    assert TaskMetadata.objects.count() == 1


def test_a_patch_sets_and_removes_and_leaves_the_rest(backend: Caller) -> None:
    task_id = backend.submit(metadata={"a": "1", "b": "2", "c": "3"}).json()["task_id"]
    tag = backend.poll(task_id)["ETag"]
    answer = patch(backend, task_id, {"metadata": {"a": None, "b": "4", "d": "5", "e": None}})

    now = {"b": "4", "c": "3", "d": "5"}
    assert (answer.status_code, answer.json()["metadata"]) == (200, now)
    assert answer.json() == backend.poll(task_id).json()
    assert rows(AgentTask.objects.get(pk=task_id)) == now
    assert backend.poll(task_id, **{"If-None-Match": tag}).status_code == 200


def test_it_is_changed_in_any_state_and_nothing_else_is(backend: Caller, acme: Account) -> None:
    failed = {"status": "FAILED", "stop_reason": "error", "error": "No credit."}
    for task in (make_task(acme), running(acme), ended(acme, **failed)):
        before = AgentTask.objects.filter(pk=task.pk).values().get()
        assert patch(backend, task.id, {"metadata": {"a": "b"}}).status_code == 200
        after = AgentTask.objects.filter(pk=task.pk).values().get()
        assert after == {**before, "metadata": {"a": "b"}}


def test_more_than_sixteen_in_the_end_are_refused_and_nothing_is_changed(backend: Caller) -> None:
    task_id = backend.submit(metadata=FULL).json()["task_id"]
    answer = patch(backend, task_id, {"metadata": {"key0": "changed", "one": "more"}})

    assert (answer.status_code, answer.json()["code"]) == (409, "metadata_full")
    assert rows(AgentTask.objects.get(pk=task_id)) == FULL
    assert patch(backend, task_id, {"metadata": {"key0": None, "one": "more"}}).status_code == 200


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({}, "metadata", "required"),
        ({"metadata": None}, "metadata", "invalid_type"),
        ({"metadata": {"a": 5}}, "metadata.a", "invalid_type"),
        ({"metadata": {}, "status": "COMPLETED"}, "status", "unknown_field"),
        ({"metadata": {**FULL, "one": "more"}}, "metadata", "too_long"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(
    backend: Caller, acme: Account, body: Any, field: str, code: str
) -> None:
    task = make_task(acme, metadata={"a": "b"})
    answer = patch(backend, task.id, body)

    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["errors"][0]["field"] == field
    task.refresh_from_db()
    assert task.metadata == {"a": "b"}


def test_another_tenant_changes_nothing(stranger: Caller, acme: Account) -> None:
    task = make_task(acme)
    for task_id in (task.id, "no-uuid"):
        answer = patch(stranger, task_id, {"metadata": {"a": "b"}})
        assert (answer.status_code, answer.json()["code"]) == (404, "task_not_found")
    task.refresh_from_db()
    assert task.metadata == {}
    assert not TaskMetadata.objects.exists()


def test_it_is_found_by_what_it_was_changed_to(backend: Caller) -> None:
    task_id = backend.submit(metadata={"order": "17"}).json()["task_id"]
    patch(backend, task_id, {"metadata": {"order": "18"}})

    def found(order: str) -> int:
        answer = backend.client.get(
            f"{SUBMIT}?metadata[order]={order}", headers=backend.account.bearer
        )
        return len(answer.json()["items"])

    assert (found("17"), found("18")) == (0, 1)


def test_a_required_skill_s_slug_is_kept_to_be_found_by(backend: Caller, acme: Account) -> None:
    make_skill({"project": acme.project}, name="Weekly report", slug="weekly-report")
    backend.submit(skill_ref="Weekly Report")
    backend.submit()

    assert sorted(AgentTask.objects.values_list("skill_slug", flat=True)) == ["", "weekly-report"]
