"""What the API is sent, as frozen values: one class for each body, and how it is read."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from caylex_project.accounts.end_users import MAX_LENGTH, EmailRefused, normalise_email
from caylex_project.accounts.project_limits import RunLimits, whole
from caylex_project.integrations.webhooks import WebhookEvent
from tasks_app.operations.metadata import MAX_KEY, MAX_PAIRS, MAX_VALUE
from tasks_app.operations.run_limits import NONE_ASKED
from tasks_app.operations.stop import MAX_REASON
from tasks_app.operations.submit import Submission
from tasks_app.operations.webhooks import TaskWebhook
from tasks_app.problems import BadFields, FieldError

MAX_PROMPT = 100_000  # characters

# The parser refuses NUL in any text; the description has to say so field by field.
_NO_NUL: dict[str, JsonValue] = {"pattern": r"^[^\x00]*$"}
_NOT_BLANK: dict[str, JsonValue] = {"pattern": r"^[^\x00]*[^\x00\s][^\x00]*$"}
_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
_CONTROL = re.compile(f"[{_CONTROLS}]")
_ONE_LINE: dict[str, JsonValue] = {"pattern": rf"^[^{_CONTROLS}]*[^{_CONTROLS}\s][^{_CONTROLS}]*$"}
CONTROL_REFUSED = "Line breaks and other control characters are not allowed here."


def holds_control_characters(text: str) -> bool:
    """Tell whether the text holds line breaks or other control characters."""
    return _CONTROL.search(text) is not None


def _one_line(text: str | None) -> str | None:
    if text is not None and holds_control_characters(text):
        raise PydanticCustomError("invalid_text", CONTROL_REFUSED)
    return text


def _email(text: str) -> str:
    try:
        return normalise_email(text)
    except EmailRefused as refused:
        raise PydanticCustomError("invalid_email", "{why}", {"why": str(refused)}) from None


def _supported(value: Any) -> Any:
    if value in ("exclude", False):
        return value
    raise PydanticCustomError("not_supported", "This value is not supported yet.")


Key = Annotated[str, Field(min_length=1, max_length=MAX_KEY)]
Value = Annotated[str, Field(max_length=MAX_VALUE)]
Pairs = Annotated[dict[Key, Value], Field(max_length=MAX_PAIRS)]
Changes = Annotated[dict[Key, Value | None], Field(max_length=MAX_PAIRS)]
Limits = Annotated[
    RunLimits | None,
    Field(description="What a run may use up; the project's and the service's limits cap it."),
]


def _pairs_schema(*, of: list[JsonValue], or_null: bool = False) -> dict[str, Any]:
    return {
        "type": ["object", "null"] if or_null else "object",
        "maxProperties": MAX_PAIRS,
        "propertyNames": {"minLength": 1, "maxLength": MAX_KEY, **_NO_NUL},
        "additionalProperties": {"type": of, "maxLength": MAX_VALUE, **_NO_NUL},
    }


class WebhookRequest(BaseModel):
    """An address that is told when the task has ended."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    url: str = Field(
        min_length=1,
        max_length=2_000,
        json_schema_extra={"format": "uri"},
        description="`http` or `https`, port 80, 443 or 1024 up, at a public address.",
        examples=["https://example.com/hooks/agent-tasks"],
    )
    events: list[WebhookEvent] | None = Field(
        default=None, description="The endings to be told of; all unless given."
    )

    def webhook(self) -> TaskWebhook:
        """Return the value that the operation takes."""
        return TaskWebhook(url=self.url, events=self.events or ())


class SubmitRequest(BaseModel):
    """A new task. Null stands for absent in every optional field."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    caylex_api_key: str = Field(
        min_length=1,
        json_schema_extra=_NO_NUL,
        repr=False,
        description="API key of the navigator that runs the task, `ck_{id}.{secret}`.",
        examples=["ck_your_navigator_api_key"],
    )
    user_email: Annotated[
        str,
        Field(
            max_length=MAX_LENGTH,
            description="The end user as whom the task runs. Compared without regard to case, "
            "made on first use. Plain ASCII.",
            json_schema_extra={"format": "email"},
            examples=["jane@example.com"],
        ),
        AfterValidator(_email),
    ]
    prompt: str = Field(
        min_length=1,
        max_length=MAX_PROMPT,
        pattern=r"\S",
        json_schema_extra=_NOT_BLANK,
        repr=False,
        description="What the agent is to do. Not blank.",
        examples=["Count last week's tickets by area and name the three largest."],
    )
    skill_ref: str | None = Field(
        default=None,
        min_length=1,
        json_schema_extra=_NO_NUL,
        description="Name (any case) or slug of a skill that the agent must load first.",
        examples=["weekly-report"],
    )
    model: str | None = Field(
        default=None,
        min_length=1,
        json_schema_extra=_NO_NUL,
        description="Id of the model to use. One that is not allowed is no error: see "
        "`model_warning` in the answer.",
        examples=["anthropic/claude-opus-4.8"],
    )
    metadata: Annotated[
        Pairs | None, WithJsonSchema(_pairs_schema(of=["string"], or_null=True))
    ] = Field(
        default=None,
        description="Pairs of your own, shown in every answer and to list tasks by.",
        examples=[{"order": "17"}],
    )
    limits: Limits = None
    webhook: WebhookRequest | None = None
    priority: Annotated[int, Field(ge=0, le=9), BeforeValidator(whole)] | None = Field(
        default=None,
        description="0, the default, to 9: the higher goes first within its project.",
    )
    approval_mode: Annotated[
        str | None,
        AfterValidator(lambda value: value if value is None else _supported(value)),
        WithJsonSchema({"type": ["string", "null"], "enum": ["exclude", None]}),
    ] = Field(
        default=None,
        description="`exclude`: the agent is not shown tools that need a person's approval. "
        "No other mode is supported yet.",
    )
    background_agent_auto_approve_tools: Annotated[
        bool | None,
        AfterValidator(lambda value: value if value is None else _supported(value)),
        WithJsonSchema({"type": ["boolean", "null"], "enum": [False, None]}),
    ] = Field(default=None, description="Older name: false is `approval_mode: exclude`.")

    def submission(self) -> Submission:
        """Return the part that the operation takes."""
        return Submission(
            user_email=self.user_email,
            prompt=self.prompt,
            skill_ref=self.skill_ref,
            model=self.model,
            metadata=self.metadata or {},
            limits=self.limits or NONE_ASKED,
            webhook=None if self.webhook is None else self.webhook.webhook(),
            priority=self.priority or 0,
        )


class CancelRequest(BaseModel):
    """Why a task is to stop; the body may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    reason: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=MAX_REASON,
            pattern=r"\S",
            json_schema_extra=_ONE_LINE,
            description="Goes into the report. Not blank, no line breaks or other control "
            "characters.",
            examples=["Jane found the numbers herself."],
        ),
        AfterValidator(_one_line),
    ] = None


class RetryRequest(BaseModel):
    """Limits of the run that begins; the body may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    limits: Limits = None


class ContinueRequest(RetryRequest):
    """A further instruction for a task that has ended."""

    message: str = Field(
        min_length=1,
        max_length=MAX_PROMPT,
        pattern=r"\S",
        json_schema_extra=_NOT_BLANK,
        repr=False,
        description="What the agent is to do now. Not blank.",
        examples=["Now name the customers behind the billing tickets."],
    )


class RerunRequest(BaseModel):
    """Nothing so far; the body may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class MetadataRequest(BaseModel):
    """What is to change in a task's metadata."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    metadata: Annotated[Changes, WithJsonSchema(_pairs_schema(of=["string", "null"]))] = Field(
        description="Keys to set, and with null those to remove; the others stay.",
        examples=[{"order": "18", "draft": None}],
    )


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
        code, message = "too_long", f"This has at most {error['ctx']['max_length']} pairs."
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
