"""The description as a file, and the page that shows it."""

from __future__ import annotations

import functools
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiYamlRenderer

from caylex_project.web.http_problem import PROBLEM_JSON
from tasks_app.api.openapi.error_codes import CODES

PROBLEM_DETAILS = {
    "description": "An error as RFC 9457 has it, for who sends `Accept: application/problem+json`.",
    "allOf": [
        {"$ref": "#/components/schemas/ProblemResponse"},
        {
            "type": "object",
            "properties": {
                "type": {"type": "string", "format": "uri-reference"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "instance": {"type": "string", "format": "uri-reference"},
            },
            "required": ["type", "title", "status", "instance"],
        },
    ],
}


def without_slash_forms(endpoints: list[tuple[str, str, str, Any]]) -> list[Any]:
    """Leave out the second form of each address; drf-spectacular's preprocessing hook."""
    return [each for each in endpoints if not each[0].endswith("/")]


def with_problem_details(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add to each error its other form; drf-spectacular's postprocessing hook."""
    schemas = result["components"]["schemas"]
    schemas["ProblemDetails"] = PROBLEM_DETAILS
    for path in result["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if status >= "400":
                    reference = {"$ref": "#/components/schemas/ProblemDetails"}
                    response["content"][PROBLEM_JSON] = {"schema": reference}
    return result


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
    """Serve the page that shows it and the errors' codes, all its parts from this server."""
    return render(request, "docs.html", {"codes": CODES.items()})
