"""The page for an exception that no view answered: 503 while the database is away, else 500."""

from __future__ import annotations

import sys

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string
from django.views import defaults

from caylex_project.db.outage import is_outage
from caylex_project.web.http_problem import DATABASE_RETRY_AFTER, DATABASE_UNAVAILABLE


def server_error(request: HttpRequest) -> HttpResponseBase:
    """Answer the exception that is being handled; Django's `handler500`."""
    error = sys.exception()
    if error is None or not is_outage(error):
        return defaults.server_error(request)
    page = render_to_string("503.html", {"sentence": DATABASE_UNAVAILABLE.detail})
    return HttpResponse(page, status=503, headers={"Retry-After": str(DATABASE_RETRY_AFTER)})
