"""The durable rows: tasks, their steps and tool calls, workers, webhooks and bulk operations.

These rows are the transcript, the trace and the timeline. Imports `states` alone.
"""

from tasks_app.models.bulk import BulkOperation
from tasks_app.models.context import ContextSummary, ModelWindow, WholeResult
from tasks_app.models.idempotency import IdempotencyKey
from tasks_app.models.steps import Event, Step, ToolCall
from tasks_app.models.tasks import AWAITS_CONNECTION, SCHEMA, AgentTask, TaskMetadata
from tasks_app.models.webhooks import WebhookDelivery, WebhookEndpoint, WebhookSecret
from tasks_app.models.workers import Worker

__all__ = [
    "AWAITS_CONNECTION",
    "SCHEMA",
    "AgentTask",
    "BulkOperation",
    "ContextSummary",
    "Event",
    "IdempotencyKey",
    "ModelWindow",
    "Step",
    "TaskMetadata",
    "ToolCall",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookSecret",
    "WholeResult",
    "Worker",
]
