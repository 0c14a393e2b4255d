"""What load balancers and monitoring ask for: `/healthz`, `/readyz`, `/metrics`.

Plain Django views: no account, no session, and no answer of 500 when the database is away.
"""

from __future__ import annotations

import hmac

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from tasks_app.monitoring.metrics import scrape
from tasks_app.monitoring.stats import is_ready

_PLAIN = "text/plain; charset=utf-8"


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer 200: this process lives. The database is not asked."""
    return HttpResponse("yes\n", content_type=_PLAIN)


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """Answer 200 when a task that is submitted now would be run, else 503; and no details."""
    ready = is_ready()
    return HttpResponse(
        "yes\n" if ready else "no\n", status=200 if ready else 503, content_type=_PLAIN
    )


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer the metrics to who bears CAYLEX_METRICS_TOKEN: else 401, or 404 when it is unset."""
    token = settings.ENVIRONMENT.caylex_metrics_token.get_secret_value()
    if not token:
        raise Http404
    if not _bears(request, token):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(scrape(), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def _bears(request: HttpRequest, token: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # Compared as bytes, since the comparison of strings refuses what is not ASCII.
    same = hmac.compare_digest(given.strip().encode("utf-8", "surrogatepass"), token.encode())
    return same and scheme.lower() == "bearer"
