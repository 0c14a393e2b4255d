"""What staff asked to be done with many tasks or messages at once, and how far it has come."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models


class BulkOperation(models.Model):
    """One action on many rows, done in portions; whoever continues it starts where it stopped."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    actor = models.CharField(max_length=150, help_text="The staff user's name.")
    action = models.CharField(max_length=20)
    reason = models.CharField(max_length=500, blank=True)
    subject_ids: models.JSONField[Any, Any] = models.JSONField(
        default=list, help_text="Of tasks; of webhooks' messages where these are sent again."
    )
    position = models.PositiveIntegerField(default=0, help_text="How many ids are through.")
    done = models.PositiveIntegerField(default=0)
    refused: models.JSONField[Any, Any] = models.JSONField(
        default=dict, help_text="Sentence to the number of those of which it is true."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.action} {len(self.subject_ids)} {self.noun}"

    @property
    def noun(self) -> str:
        """What it is done with."""
        return "messages" if self.action == "resend" else "tasks"
