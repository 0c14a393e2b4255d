"""The provisioning file as values: what may stand in it, and what is said of its mistakes."""

from __future__ import annotations

import re
import zoneinfo
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from django.conf import settings
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from agent_runtime.messages import Permission
from agent_runtime.oauth.discovery import MAX_SCOPES
from caylex_project.accounts.end_users import normalise_email
from caylex_project.accounts.limits import ProjectLimits
from caylex_project.integrations.models import AuthKind, AuthLevel
from caylex_project.integrations.webhook_validation import WebhookEvent
from skills_app.parsing.strict_yaml import YamlRefused, load_typed

MAX_FILE = 1_000_000  # bytes
MAX_MISTAKES = 50  # told at once

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")


class ProvisionRefused(Exception):
    """The file cannot be provisioned; `mistakes` are sentences that name the key."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            "use 1 to 63 lower-case letters, digits, '-' and '_', starting and ending with a "
            "letter or digit"
        )
    return text


Name = Annotated[str, AfterValidator(_name)]
ToolName = Annotated[str, Field(min_length=1, max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
    )


_OF_OAUTH = ("issuer", "scopes", "client_id", "client_secret_env")


class Auth(_Part):
    """How a server wants its credential, and whose it is."""

    kind: AuthKind = AuthKind.NONE
    level: AuthLevel = AuthLevel.PROJECT
    name: str = ""
    prefix: str = ""
    issuer: str = Field(default="", max_length=500)
    scopes: list[str] = Field(default_factory=list, max_length=MAX_SCOPES)
    client_id: str = Field(default="", max_length=2000)
    client_secret_env: str | None = None

    @field_validator("kind", mode="before")
    @classmethod
    def _is_known(cls, value: object) -> AuthKind:
        return AuthKind(_member(AuthKind, value))

    @model_validator(mode="after")
    def _is_about_oauth(self) -> Auth:
        named = [each for each in _OF_OAUTH if getattr(self, each)]
        if named and self.kind is not AuthKind.OAUTH2:
            raise ValueError(f"{named[0]} is for kind oauth2")
        if self.client_id and not self.issuer:
            raise ValueError("client_id needs the issuer at which it is registered")
        if self.client_secret_env and not self.client_id:
            raise ValueError("client_secret_env needs a client_id")
        return self

    @field_validator("level", mode="before")
    @classmethod
    def _is_level(cls, value: object) -> AuthLevel:
        return AuthLevel(_member(AuthLevel, value))


class ServerPart(_Part):
    """A server and its connection to the project. What is not named stays as it is."""

    name: Name
    url: str
    auth: Auth = Auth()
    tools: dict[ToolName, Permission] = Field(default_factory=dict)
    repeatable: list[ToolName] = Field(default_factory=list)

    @field_validator("tools", mode="before")
    @classmethod
    def _are_permissions(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {tool: _member(Permission, each, what=str(tool)) for tool, each in value.items()}


class CredentialPart(_Part):
    """A credential; `value` stands in the file, or in another file or the environment."""

    server: Name
    user_email: str | None = None
    value: SecretStr | None = None
    value_file: str | None = None
    value_env: str | None = None

    @field_validator("user_email")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        return None if value is None else normalise_email(value)

    @model_validator(mode="after")
    def _has_one_value(self) -> CredentialPart:
        given = [self.value, self.value_file, self.value_env]
        if sum(each is not None for each in given) != 1:
            raise ValueError("give exactly one of value, value_file and value_env")
        return self


class OnError(StrEnum):
    """What becomes of a skill that does not load."""

    REFUSE = "refuse"  # the whole file is refused
    SKIP = "skip"  # it is left out, with a warning; what is stored of it stays as it is


class SkillPart(_Part):
    """A skill's folder, or its SKILL.md alone; a text in its place is its path."""

    path: Annotated[str, Field(min_length=1, max_length=4_096)]
    on_error: OnError = OnError.REFUSE

    @field_validator("on_error", mode="before")
    @classmethod
    def _is_known(cls, value: object) -> OnError:
        return OnError(_member(OnError, value))


class WebhookPart(_Part):
    """An address that is told of the project's tasks; no events means all."""

    url: str
    events: list[WebhookEvent] = Field(default_factory=list)


class Document(_Part):
    """The whole file."""

    tenant: Name
    project: Name
    navigator: Name | None = None
    instructions: Annotated[str, Field(max_length=50_000)] | None = None
    model: str | None = None
    servers: list[ServerPart] = Field(default_factory=list)
    credentials: list[CredentialPart] = Field(default_factory=list)
    skills: list[SkillPart] = Field(default_factory=list)
    webhooks: list[WebhookPart] = Field(default_factory=list)
    timezone: str | None = None
    limits: ProjectLimits | None = None

    @field_validator("model")
    @classmethod
    def _is_allowed(cls, value: str | None) -> str | None:
        allowed = settings.ENVIRONMENT.caylex_allowed_models
        if value is not None and value not in allowed:
            raise ValueError(f"not in CAYLEX_ALLOWED_MODELS; use one of {', '.join(allowed)}")
        return value

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, value: str | None) -> str | None:
        if value not in (None, "UTC") and value not in zoneinfo.available_timezones():
            raise ValueError("not a time zone that this machine knows; use an IANA name")
        return value

    @field_validator("skills", mode="before")
    @classmethod
    def _are_parts(cls, value: object) -> object:
        if not isinstance(value, list):
            return value
        return [each if isinstance(each, dict) else {"path": each} for each in value]

    @field_validator("servers")
    @classmethod
    def _are_different(cls, value: list[ServerPart]) -> list[ServerPart]:
        if len({each.name for each in value}) != len(value):
            raise ValueError("two servers have the same name")
        return value

    @field_validator("webhooks")
    @classmethod
    def _are_told_once(cls, value: list[WebhookPart]) -> list[WebhookPart]:
        if len({each.url for each in value}) != len(value):
            raise ValueError("two webhooks have the same address")
        return value

    @field_validator("credentials")
    @classmethod
    def _are_once_each(cls, value: list[CredentialPart]) -> list[CredentialPart]:
        if len({(each.server, each.user_email) for each in value}) != len(value):
            raise ValueError("two credentials are for the same server and user")
        return value


def read_document(path: Path) -> Document:
    """Return the checked file. Raises ProvisionRefused with every mistake in it."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ProvisionRefused([f"The file is larger than {MAX_FILE:,} bytes."])
        return parse_document(data.decode())
    except OSError as error:
        raise ProvisionRefused([f"The file cannot be read: {error.strerror}."]) from None
    except UnicodeDecodeError:
        raise ProvisionRefused(["The file is not a text in UTF-8."]) from None


def parse_document(text: str) -> Document:
    """Return the checked text. Raises ProvisionRefused with every mistake in it."""
    try:
        loaded = load_typed(text.removeprefix("\ufeff"))
    except YamlRefused as error:
        raise ProvisionRefused([str(error)]) from None
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise ProvisionRefused(["The file must hold keys with values: tenant, project, ..."])
    try:
        return Document.model_validate(loaded)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)
        raise ProvisionRefused([_sentence(each) for each in found[:MAX_MISTAKES]]) from None


_SAID = {
    "missing": "is required.",
    "extra_forbidden": "is not a key that can stand here; look for a misspelling.",
    "string_type": "must be text; put it in quotes.",
    "list_type": "must be a list.",
    "dict_type": "must be keys with values.",
    "model_type": "must be keys with values.",
    "model_attributes_type": "must be keys with values.",
    "int_type": "must be a whole number.",
    "float_type": "must be a number.",
}


def _sentence(error: ErrorDetails) -> str:
    """Return one mistake as a sentence that names the key and never its value."""
    said = _SAID.get(error["type"])
    if error["type"] == "extra_forbidden" and error["loc"][0] == "credentials":
        # The key may be what comes behind a comma in an unquoted value.
        where = _where(error["loc"][:2])
        return f"{where} takes {', '.join(CredentialPart.model_fields)}; put the value in quotes."
    if said is None:
        words = error["msg"].removeprefix("Value error, ").rstrip(".")
        said = f"{words[:1].lower()}{words[1:]}."
        return f"{_where(error['loc'])}: {said}"
    return f"{_where(error['loc'])} {said}"


def _where(loc: tuple[int | str, ...]) -> str:
    where = ""
    for part in loc:
        if isinstance(part, int):
            where += f"[{part}]"
        elif part != "[key]":
            text = "".join(each if each.isprintable() else "?" for each in str(part)[:100])
            where += f".{text}" if where else text
    return where or "The file"


def _listed(kinds: Any) -> str:
    return ", ".join(str(each.value) for each in kinds)


def _member(kinds: Any, value: object, *, what: str = "") -> Any:
    try:
        return kinds(value)
    except ValueError:
        subject = f"{what[:100]} " if what else ""
        raise ValueError(f"{subject}must be one of {_listed(kinds)}") from None
