"""When a sign-in to the admin is refused for the failed ones before it."""

from __future__ import annotations

from typing import Any

from axes.attempts import get_cool_off_threshold
from axes.handlers.database import AxesDatabaseHandler
from axes.helpers import get_client_username
from axes.models import AccessAttempt
from django.db.models import Sum
from django.http import HttpRequest

from caylex_project.web.client_addresses import parsed_address

NAME_FACTOR = 10  # as many failures lock a name from everywhere as ten addresses may have


class LockoutHandler(AxesDatabaseHandler):  # type: ignore[misc]
    """Locks a name at one address after some failures, and everywhere after ten times as many.

    Somebody with many addresses would else have as many tries at each. A success forgets the
    failures of its own address alone.
    """

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """Return the failures that count; those from everywhere at a tenth."""
        here: int = super().get_failures(request, credentials)
        attempts = AccessAttempt.objects.filter(
            username=get_client_username(request, credentials),
            attempt_time__gte=get_cool_off_threshold(request),
        )
        everywhere = attempts.aggregate(sum=Sum("failures_since_start"))["sum"] or 0
        return max(here, everywhere // NAME_FACTOR)


def address_of(request: HttpRequest) -> str | None:
    """Return the client's address; None where the server knows none, as on a Unix socket."""
    return parsed_address(request.META.get("REMOTE_ADDR", ""))
