"""What a caller submitted, and everything that became of it."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.db.models import F, Q

from agent_runtime.outcome import StopReason
from caylex_project.accounts.models import EndUser, Navigator, Project, Tenant
from tasks_app.models.workers import Worker
from tasks_app.states import TERMINAL, OnAuthentication, Status

_ended = Q(status__in=[status.value for status in TERMINAL])
_reported = Q(status__in=[Status.COMPLETED.value, Status.INCOMPLETE.value])
_failed = Q(status=Status.FAILED.value)

# Of the rows of a task: a worker leaves alone what is newer than it understands.
FIRST_SCHEMA = 1
LONG_CONTEXT = 2  # it has a summary, or results that the model no longer sees
SCHEMA = LONG_CONTEXT

# The tasks that wait for their user to connect a server: `AgentTask.awaits_connection` in SQL.
AWAITS_CONNECTION = Q(
    status=Status.PENDING.value,
    connection_wait_until__isnull=False,
    next_attempt_at=F("connection_wait_until"),
)


class AgentTask(models.Model):
    """What a caller submitted, and everything that became of it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="tasks")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="tasks")
    navigator = models.ForeignKey(Navigator, on_delete=models.CASCADE, related_name="tasks")
    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, related_name="tasks")
    session_id = models.UUIDField(default=uuid.uuid4, editable=False, db_index=True)
    prompt = models.TextField()
    model = models.CharField(max_length=200)
    required_skill: models.JSONField[Any, Any] = models.JSONField(
        null=True, blank=True, help_text="{id, name, slug, source} as resolved at submit."
    )
    skill_slug = models.CharField(
        max_length=64, blank=True, help_text="The required skill's slug, to find its tasks by."
    )
    limits: models.JSONField[Any, Any] = models.JSONField(default=dict)
    metadata: models.JSONField[Any, Any] = models.JSONField(
        default=dict, blank=True, help_text="The caller's own string pairs."
    )
    webhook: models.JSONField[Any, Any] = models.JSONField(
        null=True, blank=True, help_text="{url, events} as asked for at submit."
    )
    priority = models.PositiveSmallIntegerField(
        default=0, help_text="0 to 9; the higher goes first within its project."
    )
    rerun_of = models.ForeignKey(
        "self", on_delete=models.SET_NULL, related_name="reruns", null=True, blank=True
    )
    schema_version = models.PositiveSmallIntegerField(default=FIRST_SCHEMA)

    # Who may write: the worker that holds the task, and the number of its ownership.
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    worker = models.ForeignKey(
        Worker, on_delete=models.PROTECT, related_name="tasks", null=True, blank=True
    )
    epoch = models.PositiveIntegerField(
        default=0, help_text="Fencing token: +1 at every change of owner."
    )
    run_number = models.PositiveIntegerField(default=1)
    attempt = models.PositiveIntegerField(
        default=0, help_text="Tries at the next step that ended in a fault of the world."
    )
    crashes = models.PositiveIntegerField(default=0, help_text="Leases lost without progress.")
    next_attempt_at = models.DateTimeField(help_text="When it is due, while PENDING.")
    waiting_reason = models.CharField(
        max_length=500, blank=True, help_text="Why the last attempt failed, while it waits."
    )
    on_authentication = models.CharField(
        max_length=10,
        choices=OnAuthentication,
        default=OnAuthentication.CONTINUE,
        help_text="What a run does that lacks what its user must connect.",
    )
    connection_wait_until = models.DateTimeField(
        null=True, editable=False, help_text="Until when the run waits for a connection at most."
    )
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_reason = models.CharField(max_length=500, blank=True)
    opening_notes: models.JSONField[Any, Any] = models.JSONField(
        default=list, help_text="What the current run's first step says to the model."
    )
    caller_notes: models.JSONField[Any, Any] = models.JSONField(
        null=True, blank=True, help_text="Indexes of those notes that are the caller's own words."
    )

    # What it came to so far. `sequence` numbers every change that a stream tells of.
    sequence = models.PositiveIntegerField(default=0)
    steps_completed = models.PositiveIntegerField(default=0)
    summaries_made = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Calls of the model for a summary."
    )
    tool_calls_made = models.PositiveIntegerField(default=0)
    input_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    cached_input_tokens = models.PositiveBigIntegerField(default=0)
    reasoning_tokens = models.PositiveBigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=14, decimal_places=8, null=True, blank=True)
    authentication_needed: models.JSONField[Any, Any] = models.JSONField(
        default=list, help_text="Names of the servers that the user must connect."
    )

    # How it ended.
    stop_reason = models.CharField(
        max_length=30, choices=[(each.value, each.value) for each in StopReason], blank=True
    )
    report = models.TextField(null=True, blank=True)
    final_report_produced = models.BooleanField(null=True)
    error = models.CharField(max_length=1000, null=True, blank=True)

    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        permissions = [("view_payload", "Can see prompts, arguments, results and reports")]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=Status.values), name="task_status_is_known"
            ),
            models.CheckConstraint(
                condition=Q(status=Status.RUNNING.value, worker__isnull=False)
                | (~Q(status=Status.RUNNING.value) & Q(worker__isnull=True)),
                name="task_has_a_worker_iff_running",
            ),
            models.CheckConstraint(
                condition=(_ended & Q(completed_at__isnull=False))
                | (~_ended & Q(completed_at__isnull=True)),
                name="task_completed_at_iff_terminal",
            ),
            models.CheckConstraint(
                condition=(_ended & ~Q(stop_reason="")) | (~_ended & Q(stop_reason="")),
                name="task_stop_reason_iff_terminal",
            ),
            models.CheckConstraint(
                condition=(_reported & Q(report__isnull=False))
                | (_failed & Q(steps_completed__gt=0))
                | (~_reported & Q(report__isnull=True)),
                name="task_report_by_how_it_ended",
            ),
            models.CheckConstraint(
                condition=~_failed | ~Q(final_report_produced=True),
                name="task_failed_has_no_final_report",
            ),
            models.CheckConstraint(
                condition=Q(status=Status.FAILED.value, error__isnull=False)
                | (~Q(status=Status.FAILED.value) & Q(error__isnull=True)),
                name="task_error_iff_failed",
            ),
        ]
        indexes = [
            models.Index(
                fields=["tenant", "next_attempt_at", "id"],
                name="task_claim",
                condition=Q(status=Status.PENDING.value),
            ),
            models.Index(
                F("project"),
                F("priority").desc(),
                F("next_attempt_at"),
                F("id"),
                name="task_lane",
                condition=Q(status=Status.PENDING.value),
            ),
            *(
                models.Index(
                    fields=[scope, "status"], name=f"task_open_of_{scope}", condition=~_ended
                )
                for scope in ("tenant", "project")
            ),
            models.Index(
                F("project"),
                F("end_user"),
                F("priority").desc(),
                F("next_attempt_at"),
                F("id"),
                name="task_lane_of_user",
                condition=Q(status=Status.PENDING.value),
            ),
            models.Index(
                fields=["end_user"],
                name="task_awaits_connection",
                condition=Q(status=Status.PENDING.value, connection_wait_until__isnull=False),
            ),
            models.Index(
                fields=["crashes", "next_attempt_at"],
                name="task_quarantine",
                condition=Q(status=Status.PENDING.value, crashes__gte=2),
            ),
            models.Index(
                fields=["worker"], name="task_held", condition=Q(status=Status.RUNNING.value)
            ),
            models.Index(
                fields=["worker", "cancel_requested_at"],
                name="task_cancelling",
                condition=Q(cancel_requested_at__isnull=False, completed_at__isnull=True),
            ),
            models.Index(F("created_at").desc(), F("id").desc(), name="task_newest"),
            models.Index(
                F("tenant"), F("created_at").desc(), F("id").desc(), name="task_newest_of_tenant"
            ),
            models.Index(
                F("project"), F("created_at").desc(), F("id").desc(), name="task_newest_of_project"
            ),
            models.Index(
                F("end_user"), F("created_at").desc(), F("id").desc(), name="task_newest_of_user"
            ),
            models.Index(
                F("tenant"),
                F("status"),
                F("created_at").desc(),
                F("id").desc(),
                name="task_newest_by_status",
            ),
            models.Index(
                F("tenant"),
                F("skill_slug"),
                F("created_at").desc(),
                F("id").desc(),
                name="task_newest_by_skill",
                condition=~Q(skill_slug=""),
            ),
            models.Index(
                fields=["completed_at"], name="task_ended", condition=Q(completed_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def awaits_connection(self) -> bool:
        """True while it waits for its user to connect a server."""
        return (
            self.status == Status.PENDING
            and self.connection_wait_until is not None
            and self.next_attempt_at == self.connection_wait_until
        )


class TaskMetadata(models.Model):
    """One of the pairs in `AgentTask.metadata`, to find tasks by: the newest first."""

    task = models.ForeignKey(AgentTask, on_delete=models.CASCADE, related_name="metadata_rows")
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=64)
    value = models.CharField(max_length=512)
    created_at = models.DateTimeField(help_text="The task's.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["task", "key"], name="metadata_key_once_per_task")
        ]
        indexes = [
            models.Index(
                F("tenant"),
                F("key"),
                F("value"),
                F("created_at").desc(),
                F("task").desc(),
                name="task_newest_by_metadata",
            )
        ]

    def __str__(self) -> str:
        return f"{self.key}: {self.value}"
