"""How submit and poll are described."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from tasks_app.api.openapi import examples
from tasks_app.api.openapi.shared import (
    ALWAYS,
    IDEMPOTENCY_KEY,
    KEY_REUSED,
    LOCATION,
    NO_TASK,
    REQUEST_ID_HEADER,
    RETRY_AFTER,
    TASK_ID,
    TOO_MANY_PENDING,
    WITH_BODY,
    bad_parameter,
    described,
    problem,
    replayed,
    task_shown,
)
from tasks_app.api.requests.submit import SubmitRequest
from tasks_app.api.responses.tasks import SubmitResponse

_SUBMIT: dict[str, Any] = {
    "operation_id": "submitAgentTask",
    "summary": "Submit a task",
    "description": "Records a task and answers at once; a worker runs it in the background. "
    "An unknown field is an error, so that a misspelt option is not dropped in silence.",
    "tags": ["Agent tasks"],
    "request": {"application/json": SubmitRequest},
    "examples": [OpenApiExample("A task with a skill", value=examples.SUBMIT, request_only=True)],
    "parameters": [
        LOCATION,
        IDEMPOTENCY_KEY,
        replayed(202),
        RETRY_AFTER,
        REQUEST_ID_HEADER,
    ],
    "responses": {
        202: OpenApiResponse(
            SubmitResponse,
            description="The task is recorded.",
            examples=[OpenApiExample("Queued", value=examples.SUBMITTED)],
        ),
        403: problem(
            "The navigator's key is unknown, expired, revoked or of another tenant; or the tenant, "
            "the project or the end user is `disabled`.",
            code="invalid_api_key",
            detail="The caylex_api_key is not valid.",
        ),
        404: problem(
            "There is no such skill; no task was made.",
            code="skill_not_found",
            detail="The project has no skill of that name or slug.",
        ),
        422: KEY_REUSED,
        429: TOO_MANY_PENDING,
        **WITH_BODY,
        **ALWAYS,
    },
}

_POLL: dict[str, Any] = {
    "operation_id": "getAgentTask",
    "summary": "Poll a task",
    "description": "Shows where a task stands. Poll until `terminal` is true; `report` then holds "
    "what the agent has to say, or the service's account where the agent came to no report.",
    "tags": ["Agent tasks"],
    "parameters": [
        TASK_ID,
        OpenApiParameter(
            name="wait",
            location=OpenApiParameter.QUERY,
            description="Seconds to hold the answer until the status or the progress changes: from "
            "what `If-None-Match` says that you know, else from what it is now.",
            type={"type": "integer", "minimum": 0, "maximum": 60, "default": 0},
        ),
        OpenApiParameter(
            name="If-None-Match",
            location=OpenApiParameter.HEADER,
            description="The `ETag` of your last answer: 304 without a body while nothing changed.",
            type=str,
        ),
        OpenApiParameter(
            name="ETag",
            location=OpenApiParameter.HEADER,
            response=[200, 304],
            description="Changes whenever the body does.",
            type=str,
        ),
        OpenApiParameter(
            name="Retry-After",
            location=OpenApiParameter.HEADER,
            response=[200, 304],
            description="Seconds until the next poll makes sense; absent once it has ended.",
            type=int,
        ),
        REQUEST_ID_HEADER,
    ],
    "responses": {
        200: task_shown("The task.", Completed=examples.COMPLETED, Failed=examples.FAILED),
        400: bad_parameter("wait", least=0, most=60),
        304: OpenApiResponse(description="It is as you saw it; there is no body."),
        404: NO_TASK,
        **ALWAYS,
    },
}

describe_submit = described(_SUBMIT)
describe_poll = described(_POLL)
