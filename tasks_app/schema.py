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

from tasks_app import examples
from tasks_app.answers import ProblemAnswer, SubmitAnswer, TaskAnswer
from tasks_app.serializers import CancelRequest, RetryRequest, SubmitRequest

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


_EXAMPLE_ID = OpenApiParameter(
    name="X-Request-Id",
    location=OpenApiParameter.HEADER,
    response=True,
    description="The id of the request: your own, if you sent a short harmless one.",
    type=str,
)


def _problem(description: str, *, code: str, detail: str, **more: Any) -> OpenApiResponse:
    example = {"detail": detail, "code": code, "request_id": examples.REQUEST_ID, **more}
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
_BAD_BODY = _problem(
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
)
_NO_TASK = _problem(
    "Your tenant has no such task.", code="task_not_found", detail="There is no such task."
)
_ALWAYS: dict[int, OpenApiResponse] = {
    401: _UNAUTHENTICATED,
    406: _NOT_ACCEPTABLE,
    431: _TOO_MANY_HEADERS,
    503: _AWAY,
}
_WITH_BODY: dict[int, OpenApiResponse] = {
    400: _BAD_BODY,
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
}
_TASK_ID = OpenApiParameter(
    name="task_id",
    location=OpenApiParameter.PATH,
    description="The `task_id` of the answer to submit.",
    type={"type": "string", "format": "uuid"},
)


def _task(description: str, **shown: dict[str, Any]) -> OpenApiResponse:
    return OpenApiResponse(
        TaskAnswer,
        description=description,
        examples=[OpenApiExample(name, value=value) for name, value in shown.items()],
    )


_SUBMIT: dict[str, Any] = {
    "operation_id": "submitAgentTask",
    "summary": "Submit a task",
    "description": "Records a task and answers at once; a worker runs it in the background. "
    "An unknown field is an error, so that a misspelt option is not dropped in silence.",
    "tags": ["Agent tasks"],
    "request": {"application/json": SubmitRequest},
    "examples": [OpenApiExample("A task with a skill", value=examples.SUBMIT, request_only=True)],
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
            examples=[OpenApiExample("Queued", value=examples.SUBMITTED)],
        ),
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
        **_WITH_BODY,
        **_ALWAYS,
    },
}

_POLL: dict[str, Any] = {
    "operation_id": "getAgentTask",
    "summary": "Poll a task",
    "description": "Shows where a task stands. Poll until `terminal` is true; `report` then holds "
    "what the agent has to say.",
    "tags": ["Agent tasks"],
    "parameters": [_TASK_ID, _EXAMPLE_ID],
    "responses": {
        200: _task("The task.", Completed=examples.COMPLETED),
        404: _NO_TASK,
        **_ALWAYS,
    },
}

_CANCEL: dict[str, Any] = {
    "operation_id": "cancelAgentTask",
    "summary": "Cancel a task",
    "description": "Stops a task. One that waits ends at once; one that runs ends within two "
    "seconds, so poll on. It ends as INCOMPLETE with `stop_reason` `cancelled` and a report of "
    "what had been done. Asking again changes nothing.",
    "tags": ["Agent tasks"],
    "request": {"application/json": CancelRequest},
    "examples": [OpenApiExample("With a reason", value=examples.CANCEL, request_only=True)],
    "parameters": [_TASK_ID, _EXAMPLE_ID],
    "responses": {
        200: _task("It had ended before; nothing was changed.", Completed=examples.COMPLETED),
        202: _task(
            "It has ended now, or is about to.",
            Cancelled=examples.CANCELLED,
            Stopping=examples.STOPPING,
        ),
        404: _NO_TASK,
        **_WITH_BODY,
        **_ALWAYS,
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
    "parameters": [_TASK_ID, _EXAMPLE_ID],
    "responses": {
        202: _task("It is queued again.", Retried=examples.RETRIED),
        404: _NO_TASK,
        409: _problem(
            "It has not ended, or was completed.",
            code="not_retryable",
            detail="Only a FAILED or INCOMPLETE task can be retried, not COMPLETED.",
        ),
        **_WITH_BODY,
        **_ALWAYS,
    },
}


def _described(options: dict[str, Any]) -> Callable[[View], View]:
    return cast(Callable[[View], View], extend_schema(**options))


describe_submit = _described(_SUBMIT)
describe_poll = _described(_POLL)
describe_cancel = _described(_CANCEL)
describe_retry = _described(_RETRY)


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
