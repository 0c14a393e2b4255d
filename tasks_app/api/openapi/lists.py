"""How the list of tasks, changing their metadata and deleting them are described."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from tasks_app.api.openapi import examples
from tasks_app.api.openapi.shared import (
    ALWAYS,
    NO_TASK,
    REQUEST_ID_HEADER,
    TASK_ID,
    WITH_BODY,
    described,
    problem,
    task_shown,
)
from tasks_app.api.requests.changes import MetadataRequest
from tasks_app.api.responses.task_list import TasksResponse
from tasks_app.states import Status

_ITEM: dict[str, Any] = {
    "project_id": "2f0f6d0a-5f0b-4a3e-8b53-6f4f7a1c9d20",
    "metadata": {"order": "17"},
    **{
        name: examples.COMPLETED[name]
        for name in (
            *("task_id", "session_id", "status", "terminal", "stop_reason", "error", "model"),
            *("skill", "user_email", "usage", "cancel_requested_at", "created_at", "started_at"),
            "completed_at",
        )
    },
}
PAGE: dict[str, Any] = {
    "items": [_ITEM],
    "meta": {
        "size": 1,
        "total": 142,
        "next_cursor": "AAZUiG4d3AANTBw-j2tPDppTH29rfyoQ",
        "has_next": True,
        "has_prev": False,
    },
}


def _query(name: str, description: str, **schema: Any) -> OpenApiParameter:
    return OpenApiParameter(
        name=name, location=OpenApiParameter.QUERY, description=description, type=schema
    )


_MOMENT = {"type": "string", "format": "date-time"}
_LIST: dict[str, Any] = {
    "operation_id": "listAgentTasks",
    "summary": "List tasks",
    "description": "Your tenant's tasks, the newest first. All filters that are given have to "
    "match. What is of another tenant matches nothing. Reports are left out: poll the task.",
    "tags": ["Agent tasks"],
    "parameters": [
        OpenApiParameter(
            name="status",
            location=OpenApiParameter.QUERY,
            description="One, or several with commas or as several parameters.",
            type={
                "type": "array",
                "minItems": 1,
                "items": {"type": "string", "enum": Status.values},
            },
            explode=False,
            style="form",
        ),
        _query("user_email", "The end user.", type="string", format="email"),
        _query("project_id", "The project of the navigator.", type="string", format="uuid"),
        _query(
            "skill",
            "Slug or name of the skill that was required at submit.",
            type="string",
            maxLength=64,
            pattern=r"^[^\x00]*[A-Za-z0-9][^\x00]*$",
        ),
        _query("created_after", "Only tasks made then or later.", **_MOMENT),
        _query("created_before", "Only tasks made earlier.", **_MOMENT),
        OpenApiParameter(
            name="metadata",
            location=OpenApiParameter.QUERY,
            description="Pairs that the task has, `metadata[order]=17`; up to 5.",
            type={
                "type": "object",
                "maxProperties": 5,
                "propertyNames": {"minLength": 1, "maxLength": 64, "pattern": r"^[^\x00]*$"},
                "additionalProperties": {
                    "type": "string",
                    "maxLength": 512,
                    "pattern": r"^[^\x00]*$",
                },
            },
            style="deepObject",
            explode=True,
        ),
        _query(
            "size",
            "Tasks of a page.",
            type="integer",
            minimum=1,
            maximum=100,
            default=20,
        ),
        _query(
            "cursor",
            "`next_cursor` of the page before; empty is none.",
            type="string",
            pattern="^([A-Za-z0-9_-]{32})?$",
        ),
        REQUEST_ID_HEADER,
    ],
    "responses": {
        200: OpenApiResponse(
            TasksResponse, description="A page.", examples=[OpenApiExample("A page", value=PAGE)]
        ),
        400: problem(
            "A parameter is not known or cannot be read.",
            code="invalid_parameter",
            detail="cursor: Send a `next_cursor` as you got it.",
            errors=[
                {
                    "field": "cursor",
                    "code": "invalid_parameter",
                    "message": "Send a `next_cursor` as you got it.",
                }
            ],
        ),
        **ALWAYS,
    },
}

_CHANGE: dict[str, Any] = {
    "operation_id": "changeAgentTask",
    "summary": "Change metadata",
    "description": "Sets and removes pairs of the task's metadata, whatever its status.",
    "tags": ["Agent tasks"],
    "request": {"application/json": MetadataRequest},
    "examples": [
        OpenApiExample(
            "Set one, remove one",
            value={"metadata": {"order": "17", "draft": None}},
            request_only=True,
        )
    ],
    "parameters": [TASK_ID, REQUEST_ID_HEADER],
    "responses": {
        200: task_shown("The task.", Changed={**examples.COMPLETED, "metadata": {"order": "17"}}),
        404: NO_TASK,
        409: problem(
            "It would have more than 16 pairs; nothing was changed.",
            code="metadata_full",
            detail="With these the task would have 17 pairs; it has at most 16. Remove some, by "
            "null.",
        ),
        **WITH_BODY,
        **ALWAYS,
    },
}

_DELETE: dict[str, Any] = {
    "operation_id": "deleteAgentTask",
    "summary": "Delete a finished task",
    "description": "Deletes the task with its steps, events, transcript and deliveries, for good.",
    "tags": ["Agent tasks"],
    "parameters": [TASK_ID, REQUEST_ID_HEADER],
    "responses": {
        204: OpenApiResponse(description="It is deleted."),
        404: NO_TASK,
        409: problem(
            "It has not ended.",
            code="not_finished",
            detail="Only a task that has ended can be deleted. Cancel it first.",
        ),
        **ALWAYS,
    },
}

describe_list = described(_LIST)
describe_change = described(_CHANGE)
describe_delete = described(_DELETE)
