"""Addresses that are told of tasks, and telling them once more."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from caylex_project.integrations.webhook_validation import check_webhook_url
from tasks_app.models import WebhookDelivery, WebhookEndpoint
from tasks_app.states import DeliveryState

_REASON = 300  # characters that are kept


class DeliveryNotFound(Exception):
    """There is no such delivery, or it is another tenant's."""


class RedeliverRefused(Exception):
    """The delivery cannot be sent again; `str()` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskWebhook:
    """An address to tell of one task's end, and the events that it wants; none means all."""

    url: str
    events: Sequence[str] = ()

    def as_json(self) -> dict[str, object]:
        """Return it as the task's row keeps it."""
        return {"url": self.url, "events": sorted(set(self.events))}

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> TaskWebhook:
        """Return what a task's row keeps."""
        return cls(url=kept["url"], events=tuple(kept["events"]))


def check_webhook(webhook: TaskWebhook | None) -> str | None:
    """Check a task's address, if it has one, and return a warning sentence or None.

    The name is looked up, which takes as long as it takes: call this with no transaction open.
    Raises WebhookRefused.
    """
    return None if webhook is None else check_webhook_url(webhook.url)


def redeliver(
    *, delivery_id: uuid.UUID, tenant_id: uuid.UUID | None, now: datetime.datetime
) -> None:
    """Send a message once more, under its own id and with a day of tries before it.

    Raises DeliveryNotFound, and RedeliverRefused where its endpoint is disabled.
    """
    with transaction.atomic():
        rows = WebhookDelivery.objects.select_for_update(of=("self",)).select_related("endpoint")
        if tenant_id is not None:
            rows = rows.filter(task__tenant=tenant_id)
        delivery = rows.filter(pk=delivery_id).first()
        if delivery is None:
            raise DeliveryNotFound
        if delivery.endpoint is not None and delivery.endpoint.disabled_at is not None:
            raise RedeliverRefused("Its endpoint is disabled; enable that first.")
        WebhookDelivery.objects.filter(pk=delivery.pk).update(
            state=DeliveryState.WAITING,
            attempts=0,
            next_attempt_at=now,
            last_status=None,
            last_error="",
            delivered_at=None,
        )


def disable_endpoint(*, endpoint_id: uuid.UUID, reason: str, now: datetime.datetime) -> bool:
    """Tell an address of nothing any more; return False where it is so already."""
    rows = WebhookEndpoint.objects.filter(pk=endpoint_id, disabled_at__isnull=True)
    return bool(rows.update(disabled_at=now, disabled_reason=reason[:_REASON]))


def enable_endpoint(*, endpoint_id: uuid.UUID) -> bool:
    """Tell an address of the tasks that end from now on; return False where it is so already."""
    rows = WebhookEndpoint.objects.filter(pk=endpoint_id, disabled_at__isnull=False)
    return bool(rows.update(disabled_at=None, disabled_reason=""))
