"""Errors of the API: what views raise, and the one shape in which all of it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

from caylex_project.db.outage import is_outage
from caylex_project.web.http_problem import (
    DATABASE_RETRY_AFTER,
    DATABASE_UNAVAILABLE,
    INTERNAL_ERROR,
    REQUEST_ID,
    ErrorFormat,
    plain_problem,
)

MAX_ERRORS = 20  # named in one answer
MAX_SENTENCES = 5  # of them in its `detail`
MAX_FIELD_NAME = 100  # characters of a field's name that are echoed

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """What is wrong with one field; `field` is a path like `limits.max_steps`."""

    field: str
    code: str
    message: str


class Problem(exceptions.APIException):
    """An answer other than success, in words of ours: one sentence and a code to act on."""

    def __init__(
        self, *, status: int, code: str, detail: str, retry_after: int | None = None
    ) -> None:
        super().__init__(detail=detail, code=code)
        self.status_code = status
        self.code = code
        self.sentence = detail
        self.retry_after = retry_after  # seconds


class BadFields(Problem):
    """400 with the fields named.

    The answer's code is that of the fields where they agree, else `invalid_request`.
    """

    def __init__(self, errors: Sequence[FieldError]) -> None:
        codes = {each.code for each in errors}
        super().__init__(
            status=400,
            code=codes.pop() if len(codes) == 1 else "invalid_request",
            detail=_sentences(errors),
        )
        self.errors = [
            {**asdict(each), "field": printable(each.field)} for each in errors[:MAX_ERRORS]
        ]


def _sentences(errors: Sequence[FieldError]) -> str:
    """Return the errors as one line for people: all of a few, the first of many."""
    told = [
        f"{printable(each.field)}: {each.message}" if each.field else each.message
        for each in errors[:MAX_SENTENCES]
    ]
    if len(errors) == 1:
        return told[0]
    more = len(errors) - len(told)
    return " ".join([f"{len(errors):,} fields:", *told, *([f"And {more:,} more."] if more else [])])


def printable(name: str) -> str:
    """Return a field's name as it can be sent back: short, control characters escaped."""
    cut = name if len(name) <= MAX_FIELD_NAME else f"{name[:MAX_FIELD_NAME]}..."
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in cut)


def handle(error: Exception, context: dict[str, Any]) -> Response:
    """Answer any exception that a view let through; DRF's EXCEPTION_HANDLER.

    What nobody foresaw is logged (frames, never local variables) and answered with
    `internal_error` and no further word.
    """
    request = context["request"]
    shape = ErrorFormat.for_request(accept=request.META.get("HTTP_ACCEPT", ""), path=request.path)
    headers: dict[str, str] = {}
    errors: Sequence[dict[str, str]] = ()
    if isinstance(error, Problem):
        status, code, detail = error.status_code, error.code, error.sentence
        errors = getattr(error, "errors", ())
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, exceptions.APIException):
        status, code, detail = _from_framework(error)
        if challenge := getattr(error, "auth_header", None):
            headers["WWW-Authenticate"] = challenge
    elif isinstance(error, Http404 | PermissionDenied):
        status = 404 if isinstance(error, Http404) else 403
        code, detail = plain_problem(status).code, plain_problem(status).detail
    elif is_outage(error):
        logger.error("The database did not answer.", error=type(error).__name__)
        status, code, detail = 503, DATABASE_UNAVAILABLE.code, DATABASE_UNAVAILABLE.detail
        headers["Retry-After"] = str(DATABASE_RETRY_AFTER)
    else:
        logger.error("A view ended in an exception.", exc_info=error)
        status, code, detail = 500, INTERNAL_ERROR.code, INTERNAL_ERROR.detail
    body = shape.body(
        status=status,
        detail=detail,
        code=code,
        request_id=str(request.META.get(REQUEST_ID, "")),
        errors=errors,
    )
    return Response(body, status=status, headers=headers, content_type=shape.content_type)


def _from_framework(error: exceptions.APIException) -> tuple[int, str, str]:
    if isinstance(error, exceptions.AuthenticationFailed | exceptions.NotAuthenticated):
        return 401, "unauthenticated", "Send a valid platform access token as a bearer token."
    if isinstance(error, exceptions.MethodNotAllowed):
        return 405, "method_not_allowed", plain_problem(405).detail
    if isinstance(error, exceptions.NotAcceptable):
        return 406, "not_acceptable", "Answers are application/json."
    words = plain_problem(error.status_code)
    return error.status_code, words.code, words.detail
