"""What a long run needs besides its steps: summaries, whole results, the windows of models."""

from __future__ import annotations

from typing import Any

from django.db import models

from tasks_app.models.steps import ToolCall
from tasks_app.models.tasks import AgentTask


class ContextSummary(models.Model):
    """A summary that the model wrote of steps which no longer fit its window.

    It stands for all steps up to `through_run` and `through_step`, and was made after the step
    `after_step` of the run `run_number` (0: before its first). Without a text it came to nothing.
    """

    task = models.ForeignKey(AgentTask, on_delete=models.CASCADE, related_name="summaries")
    number = models.PositiveIntegerField(help_text="From 1 within its task.")
    run_number = models.PositiveIntegerField()
    after_step = models.PositiveIntegerField()
    through_run = models.PositiveIntegerField()
    through_step = models.PositiveIntegerField()
    epoch = models.PositiveIntegerField()
    sequence = models.PositiveIntegerField()
    mark: models.JSONField[Any, Any] = models.JSONField(
        help_text="How the context of its request was made."
    )
    text = models.TextField(blank=True, help_text="The model's words.")
    ledger = models.TextField(blank=True, help_text="The calls that it replaces, by the service.")
    pinned: models.JSONField[Any, Any] = models.JSONField(
        default=list, help_text="Texts of the replaced steps that stay word for word."
    )
    model = models.CharField(max_length=200)
    provider_request_id = models.CharField(max_length=200, blank=True)
    usage: models.JSONField[Any, Any] = models.JSONField(
        null=True, help_text="Null where the model gave no answer."
    )
    tokens_before = models.PositiveIntegerField()
    tokens_after = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    completed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["task", "number"], name="summary_number_once")
        ]

    def __str__(self) -> str:
        return f"summary {self.number}"


class WholeResult(models.Model):
    """The whole result of a call, where the model got it cut."""

    call = models.OneToOneField(
        ToolCall, on_delete=models.CASCADE, primary_key=True, related_name="whole"
    )
    text = models.TextField()
    complete = models.BooleanField(help_text="False where even this was cut.")

    def __str__(self) -> str:
        return f"result of {self.call_id}"


class ModelWindow(models.Model):
    """The context window of a model in tokens: as its provider tells it, and as runs found it."""

    model = models.CharField(max_length=200, primary_key=True)
    told = models.PositiveIntegerField(null=True)
    max_output = models.PositiveIntegerField(null=True, help_text="Tokens of one answer at most.")
    told_at = models.DateTimeField(null=True)
    learned = models.PositiveIntegerField(null=True)
    learned_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.model
