"""How cancel and retry are described."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample

from tasks_app.openapi import examples
from tasks_app.openapi.shared import (
    ALWAYS,
    NO_TASK,
    REQUEST_ID_HEADER,
    TASK_ID,
    WITH_BODY,
    described,
    problem,
    task_shown,
)
from tasks_app.serializers import CancelRequest, RetryRequest

_CANCEL: dict[str, Any] = {
    "operation_id": "cancelAgentTask",
    "summary": "Cancel a task",
    "description": "Stops a task. One that waits ends at once; one that runs ends within two "
    "seconds, so poll on. It ends as INCOMPLETE with `stop_reason` `cancelled` and a report of "
    "what had been done. Asking again changes nothing.",
    "tags": ["Agent tasks"],
    "request": {"application/json": CancelRequest},
    "examples": [OpenApiExample("With a reason", value=examples.CANCEL, request_only=True)],
    "parameters": [TASK_ID, REQUEST_ID_HEADER],
    "responses": {
        200: task_shown("It had ended before; nothing was changed.", Completed=examples.COMPLETED),
        202: task_shown(
            "It has ended now, or is about to.",
            Cancelled=examples.CANCELLED,
            Stopping=examples.STOPPING,
        ),
        404: NO_TASK,
        **WITH_BODY,
        **ALWAYS,
    },
}

_RETRY: dict[str, Any] = {
    "operation_id": "retryAgentTask",
    "summary": "Retry a task",
    "description": "Lets a FAILED or INCOMPLETE task go on from its last completed step, with "
    "fresh attempts and limits. The report and the error of its last run are cleared until it "
    "ends anew.",
    "tags": ["Agent tasks"],
    "request": {"application/json": RetryRequest},
    "examples": [OpenApiExample("Nothing to say", value={}, request_only=True)],
    "parameters": [TASK_ID, REQUEST_ID_HEADER],
    "responses": {
        202: task_shown("It is queued again.", Retried=examples.RETRIED),
        404: NO_TASK,
        409: problem(
            "It has not ended, or was completed.",
            code="not_retryable",
            detail="Only a FAILED or INCOMPLETE task can be retried, not COMPLETED.",
        ),
        **WITH_BODY,
        **ALWAYS,
    },
}

describe_cancel = described(_CANCEL)
describe_retry = described(_RETRY)
