"""Reading a body, and saying field by field what is wrong with it."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tasks_app.api.errors import BadFields, FieldError

Body = TypeVar("Body", bound=BaseModel)

_WORDS: dict[str, tuple[str, str]] = {
    # pydantic's type of error: our code, our sentence
    "missing": ("required", "This field is required."),
    "extra_forbidden": ("unknown_field", "This field is not known here."),
    "string_type": ("invalid_type", "This must be a text."),
    "bool_type": ("invalid_type", "This must be true or false."),
    "dict_type": ("invalid_type", "This must be an object."),
    "int_type": ("invalid_type", "This must be a whole number."),
    "float_type": ("invalid_type", "This must be a number."),
    "model_type": ("invalid_type", "This must be an object."),
    "list_type": ("invalid_type", "This must be a list."),
    "literal_error": ("invalid_choice", "This is not one of the known values."),
    "string_pattern_mismatch": ("blank", "This must not be blank."),
    "string_too_short": ("blank", "This must not be empty."),
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
}


def read_body(kind: type[Body], data: Any) -> Body:
    """Return the body of that kind that the parsed data holds; no body is an empty one.

    Raises BadFields.
    """
    try:
        return kind.model_validate(dict(data))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
    raise BadFields([_field_error(each) for each in found])


def _field_error(error: Any) -> FieldError:
    path, in_key = error["loc"], error["loc"][2:] == ("[key]",)
    if error["type"] == "string_too_long":
        limit = error["ctx"]["max_length"]
        what = "A key" if in_key else "This"
        code, message = "too_long", f"{what} has at most {limit:,} characters."
    elif error["type"] == "too_long":
        what = "pairs" if error["ctx"]["field_type"] == "Dictionary" else "values"
        code, message = "too_long", f"This has at most {error['ctx']['max_length']} {what}."
    elif error["type"] in _BOUNDS:
        bound, words = _BOUNDS[error["type"]]
        code, message = "out_of_range", f"This must be {words} {error['ctx'][bound]:,.0f}."
    else:
        code, message = _WORDS.get(error["type"], (error["type"], error["msg"]))
    return FieldError(
        field=".".join(str(part) for part in (path[:-1] if in_key else path)),
        code=code,
        message=message,
    )
