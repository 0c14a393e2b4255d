"""Who asks: the platform access token in the Authorization header."""

from __future__ import annotations

import re

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from caylex_project.accounts.keys import find_platform_token
from caylex_project.accounts.models import PlatformToken
from caylex_project.db.clock import clock
from tasks_app.api.errors import Problem

_BEARER = re.compile(rb"bearer +([\x21-\x7e]+) *\Z", re.IGNORECASE)  # RFC 6750, section 2.1


class PlatformTokenAuthentication(BaseAuthentication):
    """Bearer authentication. `request.auth` is the token's row, its tenant loaded with it."""

    def authenticate(self, request: Request) -> tuple[None, PlatformToken]:
        """Return the token. Every other header, absent or odd, is the same AuthenticationFailed.

        Raises Problem 403 where the token is good and its tenant disabled.
        """
        presented = _BEARER.match(_raw_header(request))
        text = presented[1].decode("ascii") if presented else ""
        token = find_platform_token(text, now=clock.now())
        if token is None:
            raise AuthenticationFailed
        if token.tenant.disabled_at is not None:
            raise Problem(status=403, code="disabled", detail="The tenant is disabled.")
        return None, token

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge that makes it a 401."""
        return "Bearer"


def _raw_header(request: Request) -> bytes:
    """Return the header's bytes; servers hand them over as Latin-1 text."""
    header = request.META.get("HTTP_AUTHORIZATION", "")
    return header if isinstance(header, bytes) else header.encode("latin-1", "replace")
