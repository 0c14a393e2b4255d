"""How the message to a webhook is described: what we send, and what its receiver answers."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from pydantic import Field

from agent_runtime.outcome import StopReason
from caylex_project.integrations.webhook_validation import EndedEvent, NeededEvent
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

    type: EndedEvent
    timestamp: Moment
    data: EndedTask


class WaitingTask(ResponseModel):
    """How a task stands whose user has to connect servers. It has not ended."""

    task_id: uuid.UUID
    session_id: uuid.UUID
    status: Literal["PENDING", "RUNNING"]
    authentication_needed: list[str] = Field(description="The names of the servers.")
    stop_reason: None
    report: None
    report_truncated: Literal[False]
    error: None
    user_email: str
    metadata: dict[str, str]
    created_at: Moment
    started_at: Moment | None
    completed_at: None


class ConnectionMessage(ResponseModel):
    """What a webhook is sent that names `agent_task.authentication_needed`."""

    type: NeededEvent
    timestamp: Moment
    data: WaitingTask


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

NEEDED: dict[str, Any] = {
    "type": "agent_task.authentication_needed",
    "timestamp": "2026-06-18T15:00:01+00:00",
    "data": {
        **MESSAGE["data"],
        "status": "PENDING",
        "stop_reason": None,
        "report": None,
        "started_at": None,
        "completed_at": None,
        "authentication_needed": ["crm"],
    },
}


_SENT: dict[str, Any] = {
    "security": [],  # the receiver knows it by its signature
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
    "responses": {
        "2XX": {"description": "Taken, within 15 seconds."},
        "410": {"description": "The address is gone: it is told no more."},
        "default": {"description": "It is sent again, for a day."},
    },
}


_ENDED: dict[str, Any] = {
    "operationId": "agentTaskEnded",
    "summary": "A task has ended",
    "description": "Sent to a task's `webhook` and to its project's endpoints, signed after "
    "Standard Webhooks. It may come twice, and not in the order of the ends.",
}
_NEEDED: dict[str, Any] = {
    "operationId": "agentTaskAuthenticationNeeded",
    "summary": "A task's user has to connect servers",
    "description": "Sent to a task's `webhook` and to its project's endpoints that name the "
    "event; the links are in the poll. It may come twice.",
}


def _with_body(sent: dict[str, Any], schema: str, example: dict[str, Any]) -> dict[str, Any]:
    content = {
        "schema": {"$ref": f"#/components/schemas/{schema}"},
        "examples": {"Message": {"value": example}},
    }
    body = {"required": True, "content": {"application/json": content}}
    return {"post": {**sent, **_SENT, "requestBody": body}}


def with_webhooks(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the message and its schema; drf-spectacular's postprocessing hook."""
    for model in (WebhookMessage, ConnectionMessage):
        schema = model.model_json_schema(
            mode="serialization", ref_template="#/components/schemas/{model}"
        )
        result["components"]["schemas"] |= {**schema.pop("$defs"), model.__name__: schema}
    result["webhooks"] = {
        "agentTaskEnded": _with_body(_ENDED, "WebhookMessage", MESSAGE),
        "agentTaskAuthenticationNeeded": _with_body(_NEEDED, "ConnectionMessage", NEEDED),
    }
    return result
