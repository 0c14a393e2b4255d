"""The one shape of every error answer of the API, for views and for what stands before them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

REQUEST_ID = "caylex.request_id"  # where the id of a request stands in its META
JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
_TYPES = "/api/v1/docs#"  # where the kinds of problem are explained
_ZERO = re.compile(r"0(\.0{0,3})?\Z")
_SANE = re.compile(r"[A-Za-z0-9._:/+=@~-]{1,128}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorTemplate:
    """What a status says when nobody knew anything better to say."""

    code: str
    detail: str


INTERNAL_ERROR = ErrorTemplate(
    code="internal_error",
    detail="Something went wrong on our side. Give the request id when you report it.",
)
DATABASE_UNAVAILABLE = ErrorTemplate(
    code="database_unavailable", detail="The database does not answer now. Try again soon."
)
DATABASE_RETRY_AFTER = 5  # seconds
BAD_REQUEST = ErrorTemplate(code="bad_request", detail="The request cannot be read.")
OVERLOADED = ErrorTemplate(
    code="overloaded", detail="The service is too busy to answer now. Try again soon."
)
HOST_NOT_ALLOWED = ErrorTemplate(
    code="host_not_allowed", detail="The host name of the request is not one of ALLOWED_HOSTS."
)
UNSUPPORTED_ENCODING = ErrorTemplate(
    code="unsupported_content_encoding", detail="Send the body without a Content-Encoding."
)
RETRY_AFTER = (b"retry-after", str(DATABASE_RETRY_AFTER).encode())
BY_STATUS: Mapping[int, ErrorTemplate] = {
    400: BAD_REQUEST,
    403: ErrorTemplate(code="forbidden", detail="This is not allowed."),
    404: ErrorTemplate(code="not_found", detail="There is nothing at this address."),
    405: ErrorTemplate(code="method_not_allowed", detail="This address does not know that method."),
    408: ErrorTemplate(code="request_timeout", detail="The request was not complete in time."),
    413: ErrorTemplate(code="body_too_large", detail="The body is too large."),
    414: ErrorTemplate(code="address_too_long", detail="The address of the request is too long."),
    415: ErrorTemplate(code="unsupported_media_type", detail="Send the body as application/json."),
    431: ErrorTemplate(code="headers_too_large", detail="The request's headers are too large."),
    501: ErrorTemplate(code="not_implemented", detail="This transfer coding is not supported."),
    503: ErrorTemplate(code="unavailable", detail="The service cannot answer now. Try again soon."),
    505: ErrorTemplate(code="http_version_not_supported", detail="Use HTTP/1.1."),
}


def plain_problem(status: int) -> ErrorTemplate:
    """Return the words for a status that came without any of ours."""
    return BY_STATUS.get(status, INTERNAL_ERROR if status >= 500 else BAD_REQUEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorFormat:
    """In which form an error goes to whoever asked: ours, or that of RFC 9457 around it."""

    instance: str | None  # the address that was asked, where RFC 9457 is wanted

    @classmethod
    def for_request(cls, *, accept: str, path: str) -> ErrorFormat:
        """Return the form that `Accept` asks for."""
        wanted = accepts(accept, frozenset({PROBLEM_JSON}))
        return cls(instance=quote(path, errors="replace") if wanted else None)

    @property
    def content_type(self) -> str:
        """The media type of the form."""
        return JSON if self.instance is None else PROBLEM_JSON

    def body(
        self,
        *,
        status: int,
        detail: str,
        code: str,
        request_id: str,
        errors: Sequence[Mapping[str, str]] = (),
    ) -> dict[str, Any]:
        """Return `{"detail", "code", "request_id"}`, and `errors` where single fields are wrong.

        RFC 9457 adds `type`, `title`, `status` and `instance` (section 3.1).
        """
        body: dict[str, Any] = {"detail": detail, "code": code, "request_id": request_id}
        if errors:
            body["errors"] = list(errors)
        if self.instance is None:
            return body
        title = HTTPStatus(status).phrase
        return {
            "type": f"{_TYPES}{code}",
            "title": title,
            "status": status,
            "instance": self.instance,
            **body,
        }


def accepts(header: str, kinds: frozenset[str]) -> bool:
    """Tell whether an `Accept` header names one of the media ranges, and not to refuse it."""
    for each in header.lower().split(","):
        kind, *parameters = each.split(";")
        pairs = (part.partition("=") for part in parameters)
        refused = any(
            name.strip() == "q" and _ZERO.match(value.strip()) for name, _, value in pairs
        )
        if kind.strip() in kinds and not refused:
            return True
    return False


def request_id_for(sent: str | None) -> str:
    """Return the caller's own id if it is short and harmless, else a fresh one."""
    if sent and _SANE.match(sent):
        return sent
    return uuid.uuid4().hex


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the id for a request with these headers, whose names are in lower case."""
    sent = next((value for name, value in headers if name == b"x-request-id"), b"")
    return request_id_for(sent.decode("latin-1"))


def accept_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the request's `Accept`, its lines joined as one."""
    lines = [value for name, value in headers if name == b"accept"]
    return b",".join(lines).decode("latin-1")


def headers_of_problem(
    shape: ErrorFormat, *, request_id: str, length: int
) -> list[tuple[bytes, bytes]]:
    """Return the headers of an error's body of so many bytes."""
    return [
        (b"content-type", shape.content_type.encode()),
        (b"content-length", str(length).encode()),
        (b"x-request-id", request_id.encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
