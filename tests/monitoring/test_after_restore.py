"""`manage.py after_restore`: nothing starts, and what would be repeated is listed."""

from __future__ import annotations

import datetime
import io
import json
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from caylex_project.accounts.models import AuditEntry, Tenant
from tasks_app.models import AgentTask, BulkOperation, WebhookDelivery, Worker
from tasks_app.states import Status
from tests.monitoring.test_doctor import doctor
from tests.support.engine_rows import a_task, a_worker, claim_all
from tests.support.factories import (
    AgentTaskFactory,
    StepFactory,
    TenantFactory,
    ToolCallFactory,
    WorkerFactory,
)

pytestmark = pytest.mark.django_db


def after_restore(*arguments: str) -> tuple[str, str]:
    """Return what was printed, and what was warned of."""
    out, err = io.StringIO(), io.StringIO()
    call_command("after_restore", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def a_running_task() -> AgentTask:
    """A task that a worker held when the backup was made, with calls of each kind."""
    worker: Worker = WorkerFactory.create(lease_until=timezone.now() - datetime.timedelta(hours=1))
    task: AgentTask = AgentTaskFactory.create(
        status=Status.RUNNING, worker=worker, steps_completed=2, tenant__name="acme"
    )
    step = StepFactory.create(task=task)
    for index, (name, state, repeatable) in enumerate(
        [
            ("ledger__read", "succeeded", True),
            ("ledger__append", "started", False),
            ("ledger__put", "started", True),
            ("ledger__later", "planned", False),
        ]
    ):
        ended = {"result": "ok", "completed_at": timezone.now()} if state == "succeeded" else {}
        ToolCallFactory.create(
            step=step, index=index, name=name, state=state, repeatable=repeatable, **ended
        )
    return task


def test_every_tenant_is_paused_with_an_entry_in_the_trail_and_no_task_starts() -> None:
    task = a_task()
    paused = TenantFactory.create(name="paused-before", paused=True)
    out, err = after_restore()
    assert not Tenant.objects.filter(paused=False).exists()
    assert f"Paused 1 tenant: {task.tenant.name}." in out
    assert "Paused before: 1 tenant: paused-before." in out
    assert err == ""
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.object_id, entry.reason) == (
        "manage.py after_restore",
        "pause",
        str(task.tenant_id),
        "The database was restored from a backup.",
    )
    assert claim_all(a_worker()) == []
    paused.refresh_from_db()
    assert paused.paused


def test_the_live_tasks_are_listed_with_what_becomes_of_their_open_calls() -> None:
    task = a_running_task()
    AgentTaskFactory.create(
        status=Status.FAILED, stop_reason="error", error="x", completed_at=timezone.now()
    )
    out, _ = after_restore()
    assert "1 tasks have not ended." in out
    (line,) = [each for each in out.splitlines() if str(task.id) in each]
    assert f"acme/{task.project.name}" in line
    assert "RUNNING  2 steps" in line
    assert "ledger__read" not in out, "it has its result: it is not repeated"
    assert (
        "ledger__append: would not be sent again; the agent is told that it may have happened"
    ) in out
    assert "ledger__put: would be sent again with the same idempotency key" in out
    assert "ledger__later: would be sent; it may have been sent after the backup" in out
    assert out.index("Cancel the tasks") < out.index("Start `manage.py qcluster`")


def test_json_holds_the_same() -> None:
    task = a_running_task()
    out, _ = after_restore("--json")
    body: dict[str, Any] = json.loads(out)
    assert body["paused"] == ["acme"]
    (shown,) = body["tasks"]
    assert shown["id"] == str(task.id)
    assert [(each["name"], each["state"]) for each in shown["calls"]] == [
        ("ledger__append", "started"),
        ("ledger__put", "started"),
        ("ledger__later", "planned"),
    ]
    assert shown["calls"][0]["would"].startswith("would not be sent again")


def test_it_may_be_repeated_and_adds_nothing() -> None:
    a_task()
    after_restore()
    out, _ = after_restore()
    assert "Paused no tenant." in out
    assert AuditEntry.objects.count() == 1


def test_messages_and_operations_that_would_continue_are_counted() -> None:
    ended = AgentTaskFactory.create(
        status=Status.FAILED, stop_reason="error", error="x", completed_at=timezone.now()
    )
    WebhookDelivery.objects.create(
        task=ended,
        url="https://example.com/",
        event="agent_task.failed",
        data={},
        next_attempt_at=timezone.now(),
        created_at=timezone.now(),
    )
    BulkOperation.objects.create(actor="jane", action="retry", subject_ids=[])
    out, _ = after_restore()
    assert "No task is live: nothing would be repeated." in out
    assert "1 webhook messages wait." in out
    assert "1 bulk operations of staff would continue." in out


def test_workers_that_run_are_warned_of() -> None:
    WorkerFactory.create()
    _, err = after_restore()
    assert err.startswith("Warning: 1 workers run.")


def test_hostile_names_do_not_steer_the_terminal() -> None:
    task = a_running_task()
    task.end_user.email = "a\x1b[2j@example.com"
    task.end_user.save()
    out, _ = after_restore()
    assert "\x1b" not in out
    assert "a?[2j@example.com" in out


def test_doctor_agrees_with_it() -> None:
    """Before it, doctor says to run it; after it, not to start the workers first of all."""
    a_running_task()
    assert "After a restore of the database run `manage.py after_restore` first." in doctor()[1]
    after_restore()
    code, text = doctor()
    assert code == 2
    advice = (
        "Every tenant is paused, as `manage.py after_restore` leaves them. Cancel the tasks that "
        "must not be repeated, start `manage.py qcluster`, then resume the tenants in the admin."
    )
    assert advice in text
    Tenant.objects.update(paused=False)
    assert advice not in doctor()[1]
