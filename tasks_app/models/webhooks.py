"""Who is told of a task's end, and what became of telling them."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from django.db import models
from django.db.models import F, Q

from caylex_project.accounts.models import Project
from tasks_app.models.tasks import AgentTask
from tasks_app.states import DeliveryState


def without_query(url: str) -> str:
    """Return an address as staff may see it: what stands behind its `?` may be a secret."""
    before, mark, _ = url.partition("?")
    return f"{before}?…" if mark else before


class WebhookEndpoint(models.Model):
    """An address of a project that is told of its tasks."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="webhook_endpoints")
    url = models.URLField(max_length=2000)
    events: models.JSONField[Any, Any] = models.JSONField(
        default=list, blank=True, help_text="Types that it wants; empty means all."
    )
    description = models.CharField(max_length=200, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True)
    disabled_reason = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "url"], name="webhook_url_once_per_project")
        ]

    def __str__(self) -> str:
        return without_query(self.url)


class WebhookSecret(models.Model):
    """What a project's webhooks are signed with; several side by side while they are rotated.

    `sealed` is opened by `integrations.sealing` alone, bound to this row's id.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="webhook_secrets")
    sealed = models.BinaryField(editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"webhook secret of {self.project}"


class Deliveries(models.QuerySet["WebhookDelivery"]):
    """Rows of the outbox."""

    def due(self, now: datetime.datetime) -> Deliveries:
        """Return those whose next try is to be made."""
        return self.filter(state=DeliveryState.WAITING, next_attempt_at__lte=now)


class WebhookDelivery(models.Model):
    """One message to one address: the outbox row, written with the status change that it tells of.

    Its id is the message's id, the same at every try and at a redelivery.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    task = models.ForeignKey(AgentTask, on_delete=models.CASCADE, related_name="deliveries")
    project = models.ForeignKey(
        Project,
        on_delete=models.CASCADE,
        related_name="+",
        db_index=False,
        null=True,
        help_text="The task's, to share out places without a look at the tasks. Null where an "
        "older version wrote the row.",
    )
    endpoint = models.ForeignKey(
        WebhookEndpoint,
        on_delete=models.SET_NULL,
        related_name="deliveries",
        null=True,
        blank=True,
        help_text="Null for the address that came with the task.",
    )
    url = models.CharField(max_length=2000)
    origin = models.CharField(
        max_length=300,
        blank=True,
        db_default="",
        help_text="Scheme, host and port of the address; written once more is due than is looked "
        "at.",
    )
    event = models.CharField(max_length=50)
    data: models.JSONField[Any, Any] = models.JSONField(help_text="How the task stood then.")
    state = models.CharField(max_length=10, choices=DeliveryState, default=DeliveryState.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    last_status = models.PositiveIntegerField(null=True, blank=True)
    last_error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True, blank=True)

    objects = Deliveries.as_manager()

    class Meta:
        verbose_name_plural = "webhook deliveries"
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=DeliveryState.values), name="delivery_state_is_known"
            )
        ]
        indexes = [
            models.Index(
                fields=["next_attempt_at"],
                name="delivery_due",
                condition=Q(state=DeliveryState.WAITING.value),
            ),
            models.Index(
                fields=["project", "origin", "next_attempt_at"],
                name="delivery_lane",
                condition=Q(state=DeliveryState.WAITING.value),
            ),
            models.Index(F("created_at").desc(), F("id").desc(), name="delivery_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.shown_url}"

    @property
    def shown_url(self) -> str:
        """Where it goes, without a query: that may hold a secret."""
        return without_query(self.url)
