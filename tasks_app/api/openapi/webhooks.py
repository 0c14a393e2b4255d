"""How the message to a webhook is described: what we send, and what its receiver answers."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from pydantic import Field

from agent_runtime.outcome import StopReason
from caylex_project.integrations.webhook_validation import WebhookEvent
from tasks_app.api.openapi import examples
from tasks_app.api.responses.tasks import Moment, ResponseModel


class EndedTask(ResponseModel):
    """How a task stood when it ended."""

    task_id: uuid.UUID
    session_id: uuid.UUID
    status: Literal["COMPLETED", "INCOMPLETE", "FAILED"]
    stop_reason: StopReason
    report: str | None = Field(
        description="As in a poll. Null for a task that FAILED before its first step."
    )
    report_truncated: bool = Field(description="The report is cut: poll the task for the whole.")
    error: str | None
    user_email: str
    metadata: dict[str, str]
    created_at: Moment
    started_at: Moment | None = Field(description="Null where it ended before it began.")
    completed_at: Moment


class WebhookMessage(ResponseModel):
    """What a webhook is sent, in under 20,000 bytes."""

    type: WebhookEvent
    timestamp: Moment
    data: EndedTask


MESSAGE: dict[str, Any] = {
    "type": "agent_task.completed",
    "timestamp": "2026-06-18T15:01:12+00:00",
    "data": {
        "task_id": examples.TASK_ID,
        "session_id": examples.SESSION_ID,
        "status": "COMPLETED",
        "stop_reason": "final_report",
        "report": examples.REPORT,
        "report_truncated": False,
        "error": None,
        "user_email": "jane@example.com",
        "metadata": {"order": "17"},
        "created_at": "2026-06-18T15:00:00+00:00",
        "started_at": "2026-06-18T15:00:01+00:00",
        "completed_at": "2026-06-18T15:01:12+00:00",
    },
}
_HEADERS = {
    "webhook-id": "The message's id: the same at every try, so remember those that you have seen.",
    "webhook-timestamp": "When it was sent, in seconds since 1970. Refuse five minutes off.",
    "webhook-signature": "`v1,` and the base64 of the HMAC-SHA256, with the project's "
    "`webhook_secret`, of id, timestamp and body with a dot between them; several are separated by "
    "spaces.",
}

_ENDED: dict[str, Any] = {
    "operationId": "agentTaskEnded",
    "security": [],  # the receiver knows it by its signature
    "summary": "A task has ended",
    "description": "Sent to a task's `webhook` and to its project's endpoints, signed after "
    "Standard Webhooks. It may come twice, and not in the order of the ends.",
    "tags": ["Webhooks"],
    "parameters": [
        {
            "in": "header",
            "name": name,
            "required": True,
            "description": description,
            "schema": {"type": "string"},
        }
        for name, description in _HEADERS.items()
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/WebhookMessage"},
                "examples": {"Completed": {"value": MESSAGE}},
            }
        },
    },
    "responses": {
        "2XX": {"description": "Taken, within 15 seconds."},
        "410": {"description": "The address is gone: it is told no more."},
        "default": {"description": "It is sent again, for a day."},
    },
}


def with_webhooks(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the message and its schema; drf-spectacular's postprocessing hook."""
    schema = WebhookMessage.model_json_schema(
        mode="serialization", ref_template="#/components/schemas/{model}"
    )
    result["components"]["schemas"] |= {**schema.pop("$defs"), "WebhookMessage": schema}
    result["webhooks"] = {"agentTaskEnded": {"post": _ENDED}}
    return result
