"""What is durable: tasks, their steps and tool calls, and the workers that hold them.

These rows are the transcript, the trace and the timeline; memory follows them, never the
other way round. The engine's only writers are `worker.journal`, `worker.claim`,
`worker.sweep` and `operations`.
"""

from tasks_app.models.bulk import BulkOperation
from tasks_app.models.idempotency import IdempotencyKey
from tasks_app.models.steps import Event, Step, ToolCall
from tasks_app.models.tasks import SCHEMA, AgentTask, TaskMetadata
from tasks_app.models.webhooks import WebhookDelivery, WebhookEndpoint, WebhookSecret
from tasks_app.models.workers import Worker

__all__ = [
    "SCHEMA",
    "AgentTask",
    "BulkOperation",
    "Event",
    "IdempotencyKey",
    "Step",
    "TaskMetadata",
    "ToolCall",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookSecret",
    "Worker",
]
