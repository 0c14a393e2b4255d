"""What stands behind the question mark of a list: which tasks, how many, and from where on."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Callable
from typing import TypeVar

from django.utils.text import slugify
from rest_framework.request import Request

from caylex_project.accounts.end_users import EmailRefused, normalise_email
from tasks_app.api.errors import BadFields, FieldError
from tasks_app.api.query_params import uuid_of, whole_number
from tasks_app.operations.metadata import MAX_KEY, MAX_VALUE
from tasks_app.queries.task_list import TaskCursor, TaskFilter, decode_cursor
from tasks_app.states import Status

DEFAULT_SIZE = 20
MAX_SIZE = 100
MAX_FILTER_PAIRS = 5  # of metadata in one search: each is a join
MAX_SKILL = 64  # characters of a skill's name

_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)
_OFFSET = re.compile(r"(?<=:\d\d) (?=\d\d:\d\d$)|(?<=\.\d{6}) (?=\d\d:\d\d$)")
_KNOWN = frozenset(
    {
        *("status", "user_email", "project_id", "skill"),
        *("created_after", "created_before", "size", "cursor"),
    }
)
_STATUSES = frozenset(Status.values)

Value = TypeVar("Value")


def read_filter(request: Request) -> TaskFilter:
    """Return which tasks the caller wants to see. Raises BadFields, status 400."""
    _check_names(request)
    return TaskFilter(
        statuses=_statuses(request),
        user_email=_one(request, "user_email", _email),
        project_id=_one(request, "project_id", _project),
        skill=_one(request, "skill", _skill),
        created_after=_one(request, "created_after", _moment),
        created_before=_one(request, "created_before", _moment),
        metadata=_metadata(request),
    )


def read_size(request: Request) -> int:
    """Return how many tasks a page has. Raises BadFields, status 400."""
    return whole_number(request, "size", least=1, most=MAX_SIZE) or DEFAULT_SIZE


def read_cursor(request: Request) -> TaskCursor | None:
    """Return the place after which the page begins; an empty cursor is none.

    Raises BadFields, status 400.
    """
    return _one(request, "cursor", _place) if request.query_params.get("cursor") else None


def _refused(name: str, message: str, *, code: str = "invalid_parameter") -> BadFields:
    return BadFields([FieldError(field=name, code=code, message=message)])


def _check_names(request: Request) -> None:
    for name, values in request.query_params.lists():
        if name not in _KNOWN and not _METADATA.fullmatch(name):
            message = "This parameter is not known here."
            raise _refused(name, message, code="unknown_parameter")
        if len(values) > 1 and name != "status":
            raise _refused(name, "Send this once.")


def _one(request: Request, name: str, read: Callable[[str], Value]) -> Value | None:
    """Return what `read` makes of the parameter; its ValueError says what is wrong."""
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        return read(text)
    except ValueError as refused:
        raise _refused(name, str(refused)) from None


def _statuses(request: Request) -> tuple[Status, ...]:
    words = ",".join(request.query_params.getlist("status")).split(",")
    if "status" not in request.query_params:
        return ()
    if not _STATUSES.issuperset(words):
        raise _refused("status", f"Send {', '.join(Status.values)}, or several with commas.")
    return tuple(Status(word) for word in dict.fromkeys(words))


def _email(text: str) -> str:
    try:
        return normalise_email(text)
    except EmailRefused as refused:
        raise ValueError(str(refused)) from None


def _project(text: str) -> uuid.UUID:
    found = uuid_of(text)
    if found is None:
        raise ValueError("Send a UUID.")
    return found


def _skill(text: str) -> str:
    if len(text) > MAX_SKILL or not slugify(text):
        raise ValueError("Send a skill's slug or name.")
    return text


def _moment(text: str) -> datetime.datetime:
    """Return the moment in UTC; a plus sign that was sent as it is arrives as a space."""
    try:
        moment = datetime.datetime.fromisoformat(_OFFSET.sub("+", text))
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        raise ValueError("Send a time like 2026-06-18T15:00:00+00:00, with its offset.") from None


def _place(text: str) -> TaskCursor:
    place = decode_cursor(text)
    if place is None:
        raise ValueError("Send a `next_cursor` as you got it.")
    return place


def _metadata(request: Request) -> dict[str, str]:
    wanted: dict[str, str] = {}
    for name, text in request.query_params.items():
        if match := _METADATA.fullmatch(name):
            if not 1 <= len(match[1]) <= MAX_KEY or len(text) > MAX_VALUE:
                message = f"A key has 1 to {MAX_KEY} characters, a value at most {MAX_VALUE}."
                raise _refused(name, message)
            wanted[match[1]] = str(text)
    if len(wanted) > MAX_FILTER_PAIRS:
        raise _refused("metadata", f"Send at most {MAX_FILTER_PAIRS} pairs.")
    return wanted
