"""How the events of a task are described."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from tasks_app.api.openapi import examples
from tasks_app.api.openapi.shared import (
    ALWAYS,
    NO_TASK,
    REQUEST_ID_HEADER,
    TASK_ID,
    bad_parameter,
    described,
)
from tasks_app.api.responses.tasks import EventsResponse

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

STREAM = """id: 3
event: agent_task.tool_call.started
data: {"id":3,"type":"agent_task.tool_call.started","created_at":"2026-06-18T15:00:04+00:00"}

: nothing new

"""

_EVENTS: dict[str, Any] = {
    "operation_id": "listAgentTaskEvents",
    "summary": "Events of a task",
    "description": "What happened to a task, oldest first. Ask again with `next_starting_after` "
    "as `starting_after`, and you get each event once. With `Accept: text/event-stream` it is a "
    "stream that goes on until the task has ended.",
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
            name="Last-Event-ID",
            location=OpenApiParameter.HEADER,
            description="Of a stream alone: the id of the last event that arrived. It goes before "
            "`starting_after`.",
            type={"type": "integer", "minimum": 0, "maximum": 2_147_483_647},
        ),
        OpenApiParameter(
            name="limit",
            location=OpenApiParameter.QUERY,
            description="How many at most; of a page alone.",
            type={"type": "integer", "minimum": 1, "maximum": 500, "default": 100},
        ),
        REQUEST_ID_HEADER,
    ],
    "responses": {
        (200, "application/json"): OpenApiResponse(
            EventsResponse,
            description="The events.",
            examples=[OpenApiExample("A tool call", value=EVENTS)],
        ),
        (200, "text/event-stream"): OpenApiResponse(
            OpenApiTypes.STR,
            description="The events.",
            examples=[
                OpenApiExample("A stream", value=STREAM, media_type="text/event-stream"),
            ],
        ),
        400: bad_parameter("limit", least=1, most=500),
        404: NO_TASK,
        **ALWAYS,
    },
}

describe_events = described(_EVENTS)
