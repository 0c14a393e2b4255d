"""The one shape of every error answer of the API, for views and for what stands before them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

REQUEST_ID = "caylex.request_id"  # where the id of a request stands in its META
_SANE = re.compile(r"[A-Za-z0-9._:/+=@~-]{1,128}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """What a status says when nobody knew anything better to say."""

    code: str
    detail: str


INTERNAL_ERROR = Plain(
    code="internal_error",
    detail="Something went wrong on our side. Give the request id when you report it.",
)
BAD_REQUEST = Plain(code="bad_request", detail="The request cannot be read.")
BY_STATUS: Mapping[int, Plain] = {
    400: BAD_REQUEST,
    403: Plain(code="forbidden", detail="This is not allowed."),
    404: Plain(code="not_found", detail="There is nothing at this address."),
    405: Plain(code="method_not_allowed", detail="This address does not know that method."),
    413: Plain(code="body_too_large", detail="The body is too large."),
    415: Plain(code="unsupported_media_type", detail="Send the body as application/json."),
    431: Plain(code="headers_too_large", detail="The request's headers are too large."),
    503: Plain(code="unavailable", detail="The service cannot answer now. Try again soon."),
}


def plain_problem(status: int) -> Plain:
    """Return the words for a status that came without any of ours."""
    return BY_STATUS.get(status, INTERNAL_ERROR if status >= 500 else BAD_REQUEST)


def problem_body(
    *, detail: str, code: str, request_id: str, errors: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    """Return `{"detail", "code", "request_id"}`, and `errors` where single fields are wrong."""
    body: dict[str, Any] = {"detail": detail, "code": code, "request_id": request_id}
    if errors:
        body["errors"] = list(errors)
    return body


def request_id_for(sent: str | None) -> str:
    """Return the caller's own id if it is short and harmless, else a fresh one."""
    if sent and _SANE.match(sent):
        return sent
    return uuid.uuid4().hex
