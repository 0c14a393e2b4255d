"""Reading what stands behind the question mark of an address."""

from __future__ import annotations

import re
import uuid

from rest_framework.request import Request

from tasks_app.api.errors import BadFields, FieldError

_WHOLE = re.compile(r"[0-9]{1,10}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def uuid_of(text: str) -> uuid.UUID | None:
    """Return the id that the text is in the one form that the API writes, or None."""
    return uuid.UUID(text) if _UUID.fullmatch(text) else None


def refuse_nul(request: Request) -> None:
    """Refuse what no database stores. Raises BadFields, status 400, with the parameter named."""
    for name, values in request.query_params.lists():
        if any("\x00" in text for text in (name, *values)):
            message = "NUL (%00) is not allowed in text."
            raise BadFields([FieldError(field=name, code="invalid_parameter", message=message)])


def whole_number(request: Request, name: str, *, least: int, most: int) -> int | None:
    """Return the parameter's value, None where it is absent. Raises BadFields, status 400."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if _WHOLE.fullmatch(text) and least <= int(text) <= most:
        return int(text)
    message = f"Send a whole number from {least} to {most}."
    raise BadFields([FieldError(field=name, code="invalid_parameter", message=message)])
