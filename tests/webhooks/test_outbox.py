"""Whoever wants to know has a row in the commit of the task's end, and nobody else has."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from agent_runtime.outcome import StopReason
from tasks_app.models import AgentTask, WebhookDelivery
from tasks_app.operations.cancel import cancel
from tasks_app.operations.terminate import end_failed
from tasks_app.states import Status
from tasks_app.webhooks import outbox
from tasks_app.worker.journal.entries import Release
from tasks_app.worker.journal.outcomes import failed
from tasks_app.worker.journal.write import write_entries
from tests.support.engine_rows import a_task, claimed_task
from tests.support.webhook_rows import COMPLETED, an_endpoint, the_end

pytestmark = pytest.mark.django_db(transaction=True)

OWN = "https://own.example/hook"
WITHOUT_TIMES = ("created_at", "started_at", "completed_at")


def told() -> set[tuple[str, str]]:
    return set(WebhookDelivery.objects.values_list("url", "event"))


def test_the_journals_end_tells_the_tasks_own_address_and_the_projects() -> None:
    task, claim = claimed_task(webhook={"url": OWN, "events": []}, metadata={"order": "7"})
    endpoint = an_endpoint(task, "https://project.example/hook")
    an_endpoint(a_task(), "https://elsewhere.example/hook")
    write_entries([the_end(task, epoch=claim.epoch)])
    assert told() == {
        (OWN, "agent_task.completed"),
        ("https://project.example/hook", "agent_task.completed"),
    }
    own, project = WebhookDelivery.objects.order_by("url")
    assert (own.endpoint_id, project.endpoint_id) == (None, endpoint.pk)
    assert (own.state, own.attempts, own.last_error) == ("waiting", 0, "")
    task.refresh_from_db()
    assert own.next_attempt_at == own.created_at == task.completed_at
    assert own.data == project.data
    assert own.data["metadata"] == {"order": "7"}


@pytest.mark.parametrize("report", ["Done: “ü”.", "é" * 30_000])
def test_the_two_ways_of_writing_a_row_agree(report: str) -> None:
    task, claim = claimed_task(webhook={"url": OWN, "events": []})
    release = Release(
        status=Status.INCOMPLETE,
        event="incomplete",
        stop_reason=StopReason.MAX_STEPS,
        report=report,
        final_report_produced=True,
    )
    write_entries([the_end(task, epoch=claim.epoch, release=release)])
    by_statement = WebhookDelivery.objects.get()
    by_statement.delete()
    outbox.enqueue_deliveries(AgentTask.objects.get(pk=task.pk))
    by_rows = WebhookDelivery.objects.get()

    def plain(data: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in data.items() if name not in WITHOUT_TIMES}

    assert plain(by_statement.data) == plain(by_rows.data)
    assert set(by_statement.data) == set(by_rows.data)
    assert by_statement.event == by_rows.event == "agent_task.incomplete"
    assert by_statement.project_id == by_rows.project_id == task.project_id
    assert by_statement.origin == by_rows.origin == ""
    assert by_rows.data["report_truncated"] is (len(report) > 20_000)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], True),
        (["agent_task.completed"], True),
        (["agent_task.failed", "agent_task.completed"], True),
        (["agent_task.failed"], False),
    ],
)
@pytest.mark.parametrize("whose", ["task", "project"])
def test_only_events_that_are_wanted_are_told(
    whose: str, events: list[str], expected: bool
) -> None:
    own = {"url": OWN, "events": events} if whose == "task" else None
    task, claim = claimed_task(webhook=own)
    if whose == "project":
        an_endpoint(task, OWN, events=events)
    write_entries([the_end(task, epoch=claim.epoch)])
    assert WebhookDelivery.objects.exists() is expected


def test_one_address_is_told_once_and_a_disabled_endpoint_never() -> None:
    task, claim = claimed_task(webhook={"url": OWN, "events": []})
    an_endpoint(task, OWN)
    an_endpoint(task, "https://gone.example/", disabled_at=timezone.now())
    write_entries([the_end(task, epoch=claim.epoch)])
    assert told() == {(OWN, "agent_task.completed")}


def test_progress_a_hand_back_and_a_fenced_end_tell_nobody() -> None:
    task, claim = claimed_task(webhook={"url": OWN, "events": []})
    write_entries([the_end(task, epoch=claim.epoch + 1)])
    back = Release(status=Status.PENDING, event="handed_back", wait=0.0)
    write_entries([the_end(task, epoch=claim.epoch, release=back)])
    write_entries([the_end(task, epoch=claim.epoch)])
    assert told() == set()


def test_an_end_whose_outcome_was_unknown_is_told_once() -> None:
    task, claim = claimed_task(webhook={"url": OWN, "events": []})
    entry = the_end(task, epoch=claim.epoch)
    assert write_entries([entry]) == write_entries([entry]) != {}
    assert WebhookDelivery.objects.count() == 1


def test_a_cancelled_and_a_given_up_task_are_told_from_their_rows() -> None:
    waiting = a_task(webhook={"url": OWN, "events": []})
    cancel(task_id=waiting.id, tenant_id=None, reason="enough", now=timezone.now())
    broken = a_task(webhook={"url": OWN, "events": []})
    with transaction.atomic():
        end_failed(AgentTask.objects.get(pk=broken.pk), error="It broke.", now=timezone.now())
    assert told() == {(OWN, "agent_task.incomplete"), (OWN, "agent_task.failed")}
    message = WebhookDelivery.objects.get(task=broken)
    assert (message.data["status"], message.data["error"]) == ("FAILED", "It broke.")
    assert message.data["report"] is None


def test_the_account_of_a_failed_task_is_told_whoever_writes_its_end() -> None:
    account = "The agent wrote no report; this account is the engine's. …"
    by_the_journal, claim = claimed_task(webhook={"url": OWN, "events": []}, steps_completed=1)
    release = dataclasses.replace(failed("No credit."), report=account)
    write_entries([the_end(by_the_journal, epoch=claim.epoch, release=release)])
    by_rows = a_task(webhook={"url": OWN, "events": []}, steps_completed=1)
    with transaction.atomic():
        end_failed(AgentTask.objects.get(pk=by_rows.pk), error="It broke.", now=timezone.now())

    message = WebhookDelivery.objects.get(task=by_the_journal)
    assert (message.event, message.data["report"]) == ("agent_task.failed", account)
    assert (message.data["error"], message.data["report_truncated"]) == ("No credit.", False)
    message = WebhookDelivery.objects.get(task=by_rows)
    assert message.data["report"] == (
        "The agent wrote no report; this account is the engine's. It stopped because the task "
        "failed: It broke. No tool call succeeded."
    )


def test_a_task_whose_end_is_undone_is_told_to_nobody() -> None:
    task, claim = claimed_task(webhook={"url": OWN, "events": []})
    with transaction.atomic():
        write_entries([the_end(task, epoch=claim.epoch, release=COMPLETED)])
        assert WebhookDelivery.objects.count() == 1
        transaction.set_rollback(True)
    assert told() == set()
    assert AgentTask.objects.get(pk=task.pk).status == Status.RUNNING


def test_every_delivery_has_an_id_of_its_own() -> None:
    task, claim = claimed_task(webhook={"url": OWN, "events": []})
    an_endpoint(task, "https://project.example/hook")
    write_entries([the_end(task, epoch=claim.epoch)])
    ids = set(WebhookDelivery.objects.values_list("pk", flat=True))
    assert len(ids) == 2
    assert all(isinstance(each, uuid.UUID) and each.version == 4 for each in ids)
