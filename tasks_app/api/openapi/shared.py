"""What the descriptions of the operations share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from tasks_app.api.openapi import examples
from tasks_app.api.responses.tasks import ProblemResponse, TaskResponse

View = TypeVar("View", bound=Callable[..., Any])


class PlatformTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[misc]
    """How the platform access token is described."""

    target_class = "tasks_app.api.authentication.PlatformTokenAuthentication"
    name = "platformToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return the security scheme."""
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A platform access token of your tenant.",
        }


REQUEST_ID_HEADER = OpenApiParameter(
    name="X-Request-Id",
    location=OpenApiParameter.HEADER,
    response=True,
    description="The id of the request: your own, if you sent a short harmless one.",
    type=str,
)


LOCATION = OpenApiParameter(
    name="Location",
    location=OpenApiParameter.HEADER,
    response=[202],
    description="Where to poll.",
    type=str,
)

RETRY_AFTER = OpenApiParameter(
    name="Retry-After",
    location=OpenApiParameter.HEADER,
    response=[429],
    description="Seconds until another try makes sense.",
    type=int,
)

IDEMPOTENCY_KEY = OpenApiParameter(
    name="Idempotency-Key",
    location=OpenApiParameter.HEADER,
    description="A text of your own, 1 to 255 printable ASCII characters. The same request sent "
    "again with it, to the same address, is answered like the first time and does nothing more.",
    type={
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": "^[!-~]([ -~]*[!-~])?$",
    },
)


def replayed(*statuses: int) -> OpenApiParameter:
    return OpenApiParameter(
        name="Idempotent-Replayed",
        location=OpenApiParameter.HEADER,
        response=list(statuses),
        description="`true` where an earlier request with the key did it.",
        type=str,
    )


def problem(description: str, *, code: str, detail: str, **more: Any) -> OpenApiResponse:
    example = {"detail": detail, "code": code, "request_id": examples.REQUEST_ID, **more}
    return OpenApiResponse(
        ProblemResponse, description=description, examples=[OpenApiExample(code, value=example)]
    )


_UNAUTHENTICATED = problem(
    "The platform access token is absent, malformed, unknown, expired or revoked.",
    code="unauthenticated",
    detail="Send a valid platform access token as a bearer token.",
)
DISABLED = problem(
    "The tenant, the project or the end user is disabled.",
    code="disabled",
    detail="The tenant is disabled.",
)
_NOT_ACCEPTABLE = problem(
    "`Accept` excludes JSON.", code="not_acceptable", detail="Answers are application/json."
)
TOO_MANY_PENDING = problem(
    "The tenant, the project or the end user has as many waiting tasks as it may (`max_pending`). "
    "Nothing was made or changed; `Retry-After` says when to try again.",
    code="too_many_pending",
    detail="The project has 10,000 waiting tasks, as many as it may have. Try again when some of "
    "them have been started.",
)
KEY_REUSED = problem(
    "The Idempotency-Key was sent here before with another body.",
    code="idempotency_key_reused",
    detail="This Idempotency-Key was sent before with another body. Use a new key.",
)
_AWAY = problem(
    "The database is away; `Retry-After` says when to try again.",
    code="database_unavailable",
    detail="The database does not answer now. Try again soon.",
)
_TOO_MANY_HEADERS = problem(
    "The headers are larger than 16 kB together.",
    code="headers_too_large",
    detail="The request's headers are too large.",
)
_BAD_BODY = problem(
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


def bad_parameter(name: str, *, least: int, most: int) -> OpenApiResponse:
    message = f"Send a whole number from {least} to {most}."
    return problem(
        "A parameter is no whole number, or out of its range.",
        code="invalid_parameter",
        detail=f"{name}: {message}",
        errors=[{"field": name, "code": "invalid_parameter", "message": message}],
    )


NO_TASK = problem(
    "Your tenant has no such task.", code="task_not_found", detail="There is no such task."
)
NO_SKILL_OR_TASK = problem(
    "Your tenant has no such task (`task_not_found`), or its skill is gone; no task was made.",
    code="skill_not_found",
    detail="The project has no skill of that name or slug.",
)
ALWAYS: dict[int, OpenApiResponse] = {
    401: _UNAUTHENTICATED,
    403: DISABLED,
    406: _NOT_ACCEPTABLE,
    431: _TOO_MANY_HEADERS,
    503: _AWAY,
}
WITH_BODY: dict[int, OpenApiResponse] = {
    400: _BAD_BODY,
    413: problem(
        "The body is larger than 1.5 MB.",
        code="body_too_large",
        detail="The body is too large.",
    ),
    415: problem(
        "The body is not announced as application/json in UTF-8.",
        code="unsupported_media_type",
        detail="Send the body as application/json.",
    ),
}
TASK_ID = OpenApiParameter(
    name="task_id",
    location=OpenApiParameter.PATH,
    description="The `task_id` of the answer to submit.",
    type={"type": "string", "format": "uuid"},
)


def task_shown(description: str, **shown: dict[str, Any]) -> OpenApiResponse:
    return OpenApiResponse(
        TaskResponse,
        description=description,
        examples=[OpenApiExample(name, value=value) for name, value in shown.items()],
    )


def described(options: dict[str, Any]) -> Callable[[View], View]:
    return cast(Callable[[View], View], extend_schema(**options))
