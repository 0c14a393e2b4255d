"""The OpenAPI description of the API: what its views say about themselves, and its two pages."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiYamlRenderer
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from tasks_app.serializers import ProblemAnswer, SubmitAnswer, SubmitRequest, TaskAnswer

View = TypeVar("View", bound=Callable[..., Any])


class PlatformTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[misc]
    """How the platform access token is described."""

    target_class = "tasks_app.authentication.PlatformTokenAuthentication"
    name = "platformToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return the security scheme."""
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A platform access token of your tenant.",
        }


_REQUEST_ID = "3f1c8a7e5d2b4c6f9a0b1c2d3e4f5a6b"
_TASK_ID = "0d4c1c3e-8f6b-4f0e-9a53-1f6f6b7f2a10"
_SESSION_ID = "7c3c5b8e-3d0a-4f6d-8a0f-2b9d4e1c6a55"
_SKILL = {
    "id": "b54a3c1e-6a52-4b7e-9d5e-0c8a7f3d2e11",
    "name": "Weekly report",
    "slug": "weekly-report",
    "source": "project",
}
_REPORT = "Counted 142 tickets of last week: 61 about billing, 48 about sign-in, 33 others."

_SUBMIT_EXAMPLE = {
    "caylex_api_key": "ck_your_navigator_api_key",
    "user_email": "jane@example.com",
    "prompt": "Count last week's tickets by area and name the three largest.",
    "skill_ref": "weekly-report",
}
_SUBMITTED_EXAMPLE = {
    "task_id": _TASK_ID,
    "status": "queued",
    "model": "anthropic/claude-sonnet-4.6",
    "model_warning": None,
    "resolved_skill": _SKILL,
    "skill_warning": None,
}
_TASK_EXAMPLE = {
    "task_id": _TASK_ID,
    "session_id": _SESSION_ID,
    "status": "COMPLETED",
    "terminal": True,
    "stop_reason": "final_report",
    "report": _REPORT,
    "result": {
        "text": _REPORT,
        "tool_calls_made": 4,
        "hit_iteration_limit": False,
        "final_report_produced": True,
    },
    "error": None,
    "model": "anthropic/claude-sonnet-4.6",
    "skill": _SKILL,
    "user_email": "jane@example.com",
    "metadata": {},
    "progress": {
        "steps_completed": 5,
        "tool_calls_made": 4,
        "current": "Finished: the agent has reported.",
    },
    "usage": {
        "input_tokens": 18250,
        "output_tokens": 940,
        "cached_input_tokens": 12800,
        "reasoning_tokens": 0,
        "total_tokens": 19190,
        "llm_calls": 5,
        "tool_calls": 4,
        "cost_usd": 0.0412,
    },
    "attempt": 0,
    "next_attempt_at": None,
    "cancel_requested_at": None,
    "authentication_needed": [],
    "poll_after_ms": None,
    "created_at": "2026-06-18T15:00:00+00:00",
    "started_at": "2026-06-18T15:00:01+00:00",
    "completed_at": "2026-06-18T15:01:12+00:00",
}

_EXAMPLE_ID = OpenApiParameter(
    name="X-Request-Id",
    location=OpenApiParameter.HEADER,
    response=True,
    description="The id of the request: your own, if you sent a short harmless one.",
    type=str,
)


def _problem(description: str, *, code: str, detail: str, **more: Any) -> OpenApiResponse:
    example = {"detail": detail, "code": code, "request_id": _REQUEST_ID, **more}
    return OpenApiResponse(
        ProblemAnswer, description=description, examples=[OpenApiExample(code, value=example)]
    )


_UNAUTHENTICATED = _problem(
    "The platform access token is absent, malformed, unknown, expired or revoked.",
    code="unauthenticated",
    detail="Send a valid platform access token as a bearer token.",
)
_NOT_ACCEPTABLE = _problem(
    "`Accept` excludes JSON.", code="not_acceptable", detail="Answers are application/json."
)
_AWAY = _problem(
    "The database is away; `Retry-After` says when to try again.",
    code="database_unavailable",
    detail="The database does not answer now. Try again soon.",
)
_TOO_MANY_HEADERS = _problem(
    "The headers are larger than 16 kB together.",
    code="headers_too_large",
    detail="The request's headers are too large.",
)

_SUBMIT: dict[str, Any] = {
    "operation_id": "submitAgentTask",
    "summary": "Submit a task",
    "description": "Records a task and answers at once; a worker runs it in the background. "
    "An unknown field is an error, so that a misspelt option is not dropped in silence.",
    "tags": ["Agent tasks"],
    "request": {"application/json": SubmitRequest},
    "examples": [OpenApiExample("A task with a skill", value=_SUBMIT_EXAMPLE, request_only=True)],
    "parameters": [
        OpenApiParameter(
            name="Location",
            location=OpenApiParameter.HEADER,
            response=[202],
            description="Where to poll.",
            type=str,
        ),
        _EXAMPLE_ID,
    ],
    "responses": {
        202: OpenApiResponse(
            SubmitAnswer,
            description="The task is recorded.",
            examples=[OpenApiExample("Queued", value=_SUBMITTED_EXAMPLE)],
        ),
        400: _problem(
            "The body is not JSON, or fields of it are wrong; `errors` names them.",
            code="unknown_field",
            detail="promt: This field is not known here.",
            errors=[
                {
                    "field": "promt",
                    "code": "unknown_field",
                    "message": "This field is not known here.",
                }
            ],
        ),
        401: _UNAUTHENTICATED,
        403: _problem(
            "The navigator's key is unknown, expired, revoked or of another tenant.",
            code="invalid_api_key",
            detail="The caylex_api_key is not valid.",
        ),
        404: _problem(
            "There is no such skill; no task was made.",
            code="skill_not_found",
            detail="The project has no skill of that name or slug.",
        ),
        406: _NOT_ACCEPTABLE,
        413: _problem(
            "The body is larger than 1.5 MB.",
            code="body_too_large",
            detail="The body is too large.",
        ),
        415: _problem(
            "The body is not announced as application/json in UTF-8.",
            code="unsupported_media_type",
            detail="Send the body as application/json.",
        ),
        431: _TOO_MANY_HEADERS,
        503: _AWAY,
    },
}

_POLL: dict[str, Any] = {
    "operation_id": "getAgentTask",
    "summary": "Poll a task",
    "description": "Shows where a task stands. Poll until `terminal` is true; `report` then holds "
    "what the agent has to say.",
    "tags": ["Agent tasks"],
    "parameters": [
        OpenApiParameter(
            name="task_id",
            location=OpenApiParameter.PATH,
            description="The `task_id` of the answer to submit.",
            type={"type": "string", "format": "uuid"},
        ),
        _EXAMPLE_ID,
    ],
    "responses": {
        200: OpenApiResponse(
            TaskAnswer,
            description="The task.",
            examples=[OpenApiExample("Completed", value=_TASK_EXAMPLE)],
        ),
        401: _UNAUTHENTICATED,
        404: _problem(
            "Your tenant has no such task.",
            code="task_not_found",
            detail="There is no such task.",
        ),
        406: _NOT_ACCEPTABLE,
        431: _TOO_MANY_HEADERS,
        503: _AWAY,
    },
}


def _described(options: dict[str, Any]) -> Callable[[View], View]:
    return cast(Callable[[View], View], extend_schema(**options))


describe_submit = _described(_SUBMIT)
describe_poll = _described(_POLL)


def without_slash_forms(endpoints: list[tuple[str, str, str, Any]]) -> list[Any]:
    """Leave out the second form of each address; drf-spectacular's preprocessing hook."""
    return [each for each in endpoints if not each[0].endswith("/")]


@functools.cache
def openapi_yaml() -> bytes:
    """Return the OpenAPI description, made once for each process."""
    schema = SchemaGenerator().get_schema(request=None, public=True)
    return bytes(OpenApiYamlRenderer().render(schema, renderer_context={}))


@require_safe
def openapi(request: HttpRequest) -> HttpResponse:
    """Serve the OpenAPI description; open to everybody."""
    return HttpResponse(openapi_yaml(), content_type="application/yaml; charset=utf-8")


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """Serve the page that shows it, all its parts from this server."""
    return render(request, "docs.html")
