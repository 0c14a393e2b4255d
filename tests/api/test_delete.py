"""Deleting a task that has ended, with all that was written of it, and no other."""

from __future__ import annotations

import json
import uuid
from typing import Any

from tasks_app.models import AgentTask, Event, IdempotencyKey, Step, TaskMetadata, ToolCall
from tests.api.test_poll import ended, make_task, running
from tests.support.accounts import SUBMIT, Account, Caller
from tests.support.journal_rows import lived

FAILED = {"status": "FAILED", "stop_reason": "error", "error": "No credit."}


def delete(backend: Caller, task_id: Any) -> Any:
    return backend.client.delete(f"{SUBMIT}/{task_id}", headers=backend.account.bearer)


def test_a_finished_task_goes_with_its_rows_and_the_others_stay(
    backend: Caller, acme: Account
) -> None:
    task, other = lived(acme), make_task(acme)
    for each in (task, other):
        TaskMetadata.objects.create(
            task=each, tenant=acme.tenant, key="a", value="b", created_at=each.created_at
        )
    answer = delete(backend, task.id)

    assert (answer.status_code, answer.content) == (204, b"")
    assert [each.id for each in AgentTask.objects.all()] == [other.id]
    assert TaskMetadata.objects.get().task_id == other.id
    for kind in (Step, ToolCall, Event):
        assert not kind.objects.exists()
    assert backend.poll(task.id).status_code == delete(backend, task.id).status_code == 404


def test_a_task_that_has_not_ended_stays(backend: Caller, acme: Account) -> None:
    for task in (make_task(acme), running(acme)):
        answer = delete(backend, task.id)
        assert (answer.status_code, answer.json()["code"]) == (409, "not_finished")
    assert AgentTask.objects.count() == 2


def test_another_tenant_deletes_nothing(stranger: Caller, acme: Account) -> None:
    for task_id in (ended(acme, **FAILED).id, uuid.uuid4(), "no-uuid"):
        answer = delete(stranger, task_id)
        assert (answer.status_code, answer.json()["code"]) == (404, "task_not_found")
    assert AgentTask.objects.count() == 1


def test_what_it_was_submitted_with_still_makes_no_second_task(
    backend: Caller, acme: Account
) -> None:
    body, key = json.dumps(acme.body()), {"Idempotency-Key": "once"}
    task_id = backend.post(body, headers=key).json()["task_id"]
    backend.post("{}", path=f"{SUBMIT}/{task_id}/cancel")

    assert delete(backend, task_id).status_code == 204
    assert backend.post(body, headers=key).json()["task_id"] == task_id
    assert IdempotencyKey.objects.get().task_id is None
    assert not AgentTask.objects.exists()
