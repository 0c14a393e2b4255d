"""Tasks that have ended, and what waits to be told of them."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

from django.utils import timezone

from agent_runtime.outcome import StopReason
from tasks_app.models import AgentTask, WebhookDelivery, WebhookEndpoint
from tasks_app.states import Status
from tasks_app.webhooks.outbox import enqueue_deliveries
from tasks_app.worker.journal.entries import Entry, Release
from tests.support.engine_rows import a_task

COMPLETED = Release(
    status=Status.COMPLETED,
    event="completed",
    stop_reason=StopReason.FINAL_REPORT,
    report="Done, 3 of 3: “ünïcode”.",
    final_report_produced=True,
)


def the_end(task: AgentTask, *, epoch: int, release: Release = COMPLETED) -> Entry:
    """The journal's entry that ends a claimed task."""
    return Entry(
        task_id=task.id,
        epoch=epoch,
        sequence=task.sequence,
        at=timezone.now(),
        release=release,
    )


def an_endpoint(task: AgentTask, url: str, **values: Any) -> WebhookEndpoint:
    """An endpoint of the task's project."""
    return WebhookEndpoint.objects.create(project=task.project, url=url, **values)


def a_delivery(
    url: str, *, at: datetime.datetime | None = None, report: str = "Done.", **values: Any
) -> WebhookDelivery:
    """What waits for the address of a task that has completed."""
    now = at or timezone.now()
    task = a_task(
        webhook={"url": url, "events": []},
        status=Status.COMPLETED,
        stop_reason="final_report",
        report=report,
        created_at=now,
        started_at=now,
        completed_at=now,
        **values,
    )
    enqueue_deliveries(task)
    related = WebhookDelivery.objects.select_related("task__project", "task__end_user")
    return related.get(task=task)


def more_deliveries(like: WebhookDelivery, urls: Iterable[str], **values: Any) -> None:
    """What waits for further addresses of the same tenant."""
    fields = [each for each in WebhookDelivery._meta.concrete_fields if each.name != "id"]
    kept = {each.attname: getattr(like, each.attname) for each in fields}
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(**{**kept, "url": url, **values}) for url in urls
    )
