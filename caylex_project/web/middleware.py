"""What every request passes on its way in and out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import structlog
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponseBadRequest, HttpResponseBase, JsonResponse
from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]

from caylex_project.logs import loggable_path
from caylex_project.web.http_problem import (
    HOST_NOT_ALLOWED,
    JSON,
    PROBLEM_JSON,
    REQUEST_ID,
    ErrorFormat,
    ErrorTemplate,
    plain_problem,
    request_id_for,
)

MAX_OF_A_HOST = 200  # characters of a host's name that are logged

logger = structlog.get_logger(__name__)


class RequestIdMiddleware:
    """Give each request an id, log one line for it, and keep the API's errors in one shape.

    The line holds no query string, header or body. An error of the API that was made outside
    its views (a bad Host header, Django's own last resort) is put into the common shape here.
    """

    sync_capable = True
    async_capable = False

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the answer with `X-Request-Id`."""
        request_id = request_id_for(request.META.get("HTTP_X_REQUEST_ID"))
        request.META[REQUEST_ID] = request_id
        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            if refused := _refused_host(request):
                response = refused
            elif request.path_info.startswith("/api/"):
                response = _in_our_shape(request, self.get_response(request))
            else:
                response = self.get_response(request)
            logger.info(
                "request",
                method=request.method,
                path=loggable_path(request.path),
                status=response.status_code,
                milliseconds=round((time.perf_counter() - started) * 1000, 1),
            )
        response["X-Request-Id"] = request_id
        return response


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]
    """Serve the apps' static files, and those in STATIC_ROOT where somebody collected them."""

    def add_files(self, root: str, prefix: str | None = None) -> None:
        """Add a folder; one that is not there is no cause for a warning."""
        if os.path.isdir(root):
            super().add_files(root, prefix)


def _refused_host(request: HttpRequest) -> HttpResponseBase | None:
    """Return the answer to a request for a host that is not ours; its name goes to the log."""
    try:
        request.get_host()
    except DisallowedHost:
        logger.warning("host.refused", host=_cleaned(request.META.get("HTTP_HOST", "")))
        if request.path_info.startswith("/api/"):
            return _problem(request, status=400, words=HOST_NOT_ALLOWED)
        return HttpResponseBadRequest(HOST_NOT_ALLOWED.detail, content_type="text/plain")
    return None


def _cleaned(text: str) -> str:
    cut = text if len(text) <= MAX_OF_A_HOST else f"{text[:MAX_OF_A_HOST]}..."
    return "".join(
        each if each.isascii() and each.isprintable() else ascii(each)[1:-1] for each in cut
    )


def _in_our_shape(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    status = response.status_code
    if status < 400 or response.get("Content-Type", "") in (JSON, PROBLEM_JSON):
        return response
    replaced = _problem(request, status=status, words=plain_problem(status))
    response.close()
    return replaced


def _problem(request: HttpRequest, *, status: int, words: ErrorTemplate) -> HttpResponseBase:
    shape = ErrorFormat.for_request(accept=request.META.get("HTTP_ACCEPT", ""), path=request.path)
    body = shape.body(
        status=status,
        detail=words.detail,
        code=words.code,
        request_id=request.META[REQUEST_ID],
    )
    answer = JsonResponse(body, status=status, content_type=shape.content_type)
    answer["Content-Length"] = str(len(answer.content))
    return answer
