"""How the transcript of a task and the trace of its session are described."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from tasks_app.api.openapi import examples
from tasks_app.api.openapi.shared import (
    ALWAYS,
    NO_TASK,
    REQUEST_ID_HEADER,
    TASK_ID,
    bad_parameter,
    described,
    problem,
)
from tasks_app.api.responses.sessions import TraceResponse, TranscriptResponse

_CALL_ID = "3a1f0c52-7b1d-4f6e-8a55-90c1d2e3f4a5"
_STEP_ID = "9d2b7c11-0f3e-4a8c-b6d4-5e7f8a9b0c1d"
_COUNTED = "billing 61, sign-in 48, others 33"
_LIMIT = OpenApiParameter(
    name="limit",
    location=OpenApiParameter.QUERY,
    description="How many at most.",
    type={"type": "integer", "minimum": 1, "maximum": 100, "default": 50},
)


def _message(number: int, ident: str, role: str, kind: str, text: str) -> dict[str, Any]:
    return {
        "id": ident,
        "sequence_number": number,
        "role": role,
        "message_type": kind,
        "content": [{"type": "text", "text": text}],
        "created_at": f"2026-06-18T15:00:0{number}+00:00",
    }


TRANSCRIPT: dict[str, Any] = {
    "task_id": examples.TASK_ID,
    "status": "RUNNING",
    "messages": [
        _message(1, examples.TASK_ID, "user", "user_message", str(examples.SUBMIT["prompt"])),
        _message(2, _STEP_ID, "assistant", "tool_calls", "I count the tickets by area first."),
        _message(3, _CALL_ID, "tool", "tool_result", _COUNTED),
    ],
    "next_cursor": None,
    "has_more": False,
}
TRACE: dict[str, Any] = {
    "tool_call_groups": [
        {
            "id": _STEP_ID,
            "tool_calls": [
                {
                    "id": _CALL_ID,
                    "success": True,
                    "parameters": {"field": "area"},
                    "result_data": {"status": "succeeded", "text": _COUNTED},
                    "tool": {"name": "count_by_field", "server": {"name": "tickets"}},
                }
            ],
        }
    ],
    "meta": {"total_groups": 1, "offset": 0, "limit": 50, "has_next": False},
}

_TRANSCRIPT: dict[str, Any] = {
    "operation_id": "getAgentTaskTranscript",
    "summary": "Transcript of a task",
    "description": "What was said, oldest first, while the task runs and afterwards; without the "
    "system prompt. It only grows. `message_type` tells the service's own notes from what the "
    "caller said.",
    "tags": ["Agent tasks"],
    "parameters": [
        TASK_ID,
        _LIMIT,
        OpenApiParameter(
            name="cursor",
            location=OpenApiParameter.QUERY,
            description="The `next_cursor` of the page before; empty is none.",
            type={"type": "string", "pattern": "^([0-9]{1,9}-[0-9]{1,9}-[0-9]{1,9})?$"},
        ),
        REQUEST_ID_HEADER,
    ],
    "responses": {
        200: OpenApiResponse(
            TranscriptResponse,
            description="The messages.",
            examples=[OpenApiExample("A first step", value=TRANSCRIPT)],
        ),
        400: bad_parameter("limit", least=1, most=100),
        404: NO_TASK,
        **ALWAYS,
    },
}

_TRACE: dict[str, Any] = {
    "operation_id": "getSessionTrace",
    "summary": "Trace of a session",
    "description": "The tool calls of a session, oldest first, while it goes on and afterwards. A "
    "group holds the calls that one step of the agent asked for.",
    "tags": ["Agent tasks"],
    "parameters": [
        OpenApiParameter(
            name="session_id",
            location=OpenApiParameter.PATH,
            description="The `session_id` of a poll.",
            type={"type": "string", "format": "uuid"},
        ),
        OpenApiParameter(
            name="offset",
            location=OpenApiParameter.QUERY,
            description="How many groups to pass over.",
            type={"type": "integer", "minimum": 0, "maximum": 1_000_000, "default": 0},
        ),
        _LIMIT,
        REQUEST_ID_HEADER,
    ],
    "responses": {
        200: OpenApiResponse(
            TraceResponse,
            description="The groups.",
            examples=[OpenApiExample("One call", value=TRACE)],
        ),
        400: bad_parameter("limit", least=1, most=100),
        404: problem(
            "Your tenant has no such session.",
            code="session_not_found",
            detail="There is no such session.",
        ),
        **ALWAYS,
    },
}

describe_transcript = described(_TRANSCRIPT)
describe_trace = described(_TRACE)
