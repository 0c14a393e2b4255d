"""The journal of a task: its steps, their tool calls, and the events that no other row tells of."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.db.models import Q

from agent_runtime.messages import CallState
from tasks_app.models.tasks import AgentTask


class Step(models.Model):
    """One turn: a model response and the tool calls that it asked for."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    task = models.ForeignKey(AgentTask, on_delete=models.CASCADE, related_name="steps")
    run_number = models.PositiveIntegerField()
    index = models.PositiveIntegerField(help_text="From 1 within its run.")
    epoch = models.PositiveIntegerField()
    sequence = models.PositiveIntegerField()
    schema_version = models.PositiveSmallIntegerField(default=1)
    request: models.JSONField[Any, Any] = models.JSONField(
        help_text="What was added before the model was asked: notes; in a run's first step the "
        "system prompt and what is fixed with it."
    )
    response: models.JSONField[Any, Any] = models.JSONField(
        help_text="The assistant's message as received."
    )
    finish_reason = models.CharField(max_length=50)
    model = models.CharField(max_length=200)
    provider_request_id = models.CharField(max_length=200, blank=True)
    usage: models.JSONField[Any, Any] = models.JSONField()
    started_at = models.DateTimeField()
    completed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["task", "run_number", "index"], name="step_once")
        ]

    def __str__(self) -> str:
        return f"step {self.index} of run {self.run_number}"


class ToolCall(models.Model):
    """One tool call of a step. Its id is the idempotency key that goes along."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    step = models.ForeignKey(Step, on_delete=models.CASCADE, related_name="tool_calls")
    index = models.PositiveIntegerField(help_text="From 0 within its step.")
    call_id = models.CharField(max_length=200, help_text="The model's own id of the call.")
    name = models.CharField(max_length=200, help_text="As the model called it.")
    server = models.CharField(max_length=63, blank=True, help_text="Empty for a built-in.")
    tool = models.CharField(max_length=200, blank=True)
    arguments = models.TextField(help_text="The JSON text as received.")
    repeatable = models.BooleanField()
    refused = models.BooleanField(
        default=False, help_text="The runtime answered instead of the tool."
    )
    state = models.CharField(
        max_length=20, choices=[(each.value, each.value) for each in CallState]
    )
    result = models.TextField(null=True, blank=True, help_text="What the model gets.")
    result_size = models.PositiveIntegerField(
        null=True, help_text="Characters of the whole result, where the model got it cut."
    )
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    started_sequence = models.PositiveIntegerField(null=True)
    completed_sequence = models.PositiveIntegerField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["step", "index"], name="tool_call_once"),
            models.CheckConstraint(
                condition=Q(state__in=[each.value for each in CallState]),
                name="tool_call_state_is_known",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["planned", "started"], result__isnull=True)
                | (~Q(state__in=["planned", "started"]) & Q(result__isnull=False)),
                name="tool_call_result_iff_ended",
            ),
        ]
        indexes = [
            models.Index(
                fields=["completed_at"],
                name="tool_call_in_doubt",
                condition=Q(state=CallState.UNKNOWN_OUTCOME.value),
            )
        ]

    def __str__(self) -> str:
        return self.name


class Event(models.Model):
    """A change that no other row tells of, numbered with the task's steps and calls."""

    task = models.ForeignKey(AgentTask, on_delete=models.CASCADE, related_name="events")
    sequence = models.PositiveIntegerField()
    kind = models.CharField(max_length=50)
    data: models.JSONField[Any, Any] = models.JSONField(default=dict)
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["task", "sequence"], name="event_sequence_once")
        ]

    def __str__(self) -> str:
        return self.kind
