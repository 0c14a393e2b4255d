"""How the events of a task are described."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from tasks_app.answers import EventsAnswer
from tasks_app.openapi import examples
from tasks_app.openapi.shared import (
    ALWAYS,
    NO_TASK,
    REQUEST_ID_HEADER,
    TASK_ID,
    described,
    problem,
)

_CALL = {
    "run_number": 1,
    "step": 1,
    "tool_call_id": "3a1f0c52-7b1d-4f6e-8a55-90c1d2e3f4a5",
    "server": "tickets",
    "tool": "count_by_field",
}
EVENTS: dict[str, Any] = {
    "task_id": examples.TASK_ID,
    "status": "RUNNING",
    "terminal": False,
    "events": [
        {
            "id": 3,
            "type": "agent_task.tool_call.started",
            "created_at": "2026-06-18T15:00:04+00:00",
            "data": _CALL,
        },
        {
            "id": 4,
            "type": "agent_task.tool_call.completed",
            "created_at": "2026-06-18T15:00:05+00:00",
            "data": {**_CALL, "state": "succeeded", "refused": False},
        },
    ],
    "next_starting_after": 4,
    "has_more": False,
}

BAD_PARAMETER = problem(
    "A parameter is no whole number, or out of its range.",
    code="invalid_parameter",
    detail="limit: Send a whole number from 1 to 500.",
    errors=[
        {
            "field": "limit",
            "code": "invalid_parameter",
            "message": "Send a whole number from 1 to 500.",
        }
    ],
)

_EVENTS: dict[str, Any] = {
    "operation_id": "listAgentTaskEvents",
    "summary": "Events of a task",
    "description": "What happened to a task, oldest first. Ask again with `next_starting_after` "
    "as `starting_after`, and you get each event once.",
    "tags": ["Agent tasks"],
    "parameters": [
        TASK_ID,
        OpenApiParameter(
            name="starting_after",
            location=OpenApiParameter.QUERY,
            description="Only events with a higher id.",
            type={"type": "integer", "minimum": 0, "maximum": 2_147_483_647},
        ),
        OpenApiParameter(
            name="limit",
            location=OpenApiParameter.QUERY,
            description="How many at most.",
            type={"type": "integer", "minimum": 1, "maximum": 500, "default": 100},
        ),
        REQUEST_ID_HEADER,
    ],
    "responses": {
        200: OpenApiResponse(
            EventsAnswer,
            description="The events.",
            examples=[OpenApiExample("A tool call", value=EVENTS)],
        ),
        400: BAD_PARAMETER,
        404: NO_TASK,
        **ALWAYS,
    },
}

describe_events = described(_EVENTS)
