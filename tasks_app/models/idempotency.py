"""What is kept of a submit so that sending it again makes no second task."""

from __future__ import annotations

from typing import Any

from django.db import models

from caylex_project.accounts.models import Tenant
from tasks_app.models.tasks import AgentTask


class IdempotencyKey(models.Model):
    """A key that a caller sent along, in the transaction of the task that it made."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    path = models.CharField(max_length=200, help_text="The address that was posted to.")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(
        max_length=64, help_text="SHA-256 of the canonical body, its secret replaced."
    )
    task = models.ForeignKey(AgentTask, on_delete=models.SET_NULL, related_name="+", null=True)
    answer: models.JSONField[Any, Any] = models.JSONField(help_text="The first answer's body.")
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "path", "key"], name="idempotency_key_once_per_tenant_and_path"
            )
        ]

    def __str__(self) -> str:
        return self.key
