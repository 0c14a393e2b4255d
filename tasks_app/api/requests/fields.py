"""What the bodies share: kinds of values, and what is said of them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, JsonValue
from pydantic_core import PydanticCustomError

from agent_runtime.text import CONTROL_REFUSED, LINE_CONTROLS, holds_control_characters
from caylex_project.accounts.end_users import EmailRefused, normalise_email
from caylex_project.accounts.limits import RunLimits
from tasks_app.operations.metadata import MAX_KEY, MAX_PAIRS, MAX_VALUE

MAX_PROMPT = 100_000  # characters

# The parser refuses NUL in any text; the description has to say so field by field.
NO_NUL: dict[str, JsonValue] = {"pattern": r"^[^\x00]*$"}
NOT_BLANK: dict[str, JsonValue] = {"pattern": r"^[^\x00]*[^\x00\s][^\x00]*$"}
ONE_LINE: dict[str, JsonValue] = {
    "pattern": rf"^[^{LINE_CONTROLS}]*[^{LINE_CONTROLS}\s][^{LINE_CONTROLS}]*$"
}


def one_line(text: str | None) -> str | None:
    if text is not None and holds_control_characters(text):
        raise PydanticCustomError("invalid_text", CONTROL_REFUSED)
    return text


def email_address(text: str) -> str:
    try:
        return normalise_email(text)
    except EmailRefused as refused:
        raise PydanticCustomError("invalid_email", "{why}", {"why": str(refused)}) from None


def supported(value: Any) -> Any:
    if value in ("exclude", False, None):
        return value
    raise PydanticCustomError("not_supported", "This value is not supported yet.")


Instruction = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_PROMPT,
        pattern=r"\S",
        json_schema_extra=NOT_BLANK,
        repr=False,
    ),
]
# Of optional texts the bounds belong to the text: beside "a text or null" they bind nothing that a
# generator of clients understands.
Text = Annotated[str, Field(min_length=1, json_schema_extra=NO_NUL)]
Key = Annotated[str, Field(min_length=1, max_length=MAX_KEY)]
Value = Annotated[str, Field(max_length=MAX_VALUE)]
Pairs = Annotated[dict[Key, Value], Field(max_length=MAX_PAIRS)]
Changes = Annotated[dict[Key, Value | None], Field(max_length=MAX_PAIRS)]
Limits = Annotated[
    RunLimits | None,
    Field(description="What a run may use up; the project's and the service's limits cap it."),
]


def pairs_schema(*, of: list[JsonValue], or_null: bool = False) -> dict[str, Any]:
    return {
        "type": ["object", "null"] if or_null else "object",
        "maxProperties": MAX_PAIRS,
        "propertyNames": {"minLength": 1, "maxLength": MAX_KEY, **NO_NUL},
        "additionalProperties": {"type": of, "maxLength": MAX_VALUE, **NO_NUL},
    }
