"""Settings from the environment, one table for the whole service.

The process refuses to start with a sentence that names the variable. Any variable may be
read from a file instead: `NAME_FILE` holds the path (secrets as service managers mount them).
"""

from __future__ import annotations

import base64
import binascii
import difflib
import ipaddress
import os
import re
import secrets
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from caylex_project import setting_values
from caylex_project.private_files import private_folder, private_text

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"
OPENROUTER = "https://openrouter.ai/api/v1"
OFFLINE_MODEL = "offline/fixed-policy"
SQLITE_FILE = f"sqlite:///{VAR_DIR / 'caylex.sqlite3'}"
REQUIRED = ("database_url", "secret_key", "caylex_credential_keys", "allowed_hosts")
# Read by the client modules and by the tests, from the same environment.
OF_OTHER_PROGRAMS = frozenset(
    f"CAYLEX_{name}"
    for name in ("API_KEY", "API_URL", "PLATFORM_TOKEN", "ENGINE", "PEERS", "TEST_DATABASE")
)
# Values that may hold a password, besides those that are secrets by their type.
NOT_REPEATED = frozenset({"DATABASE_URL", "OPENROUTER_BASE_URL"})

CommaList = Annotated[tuple[str, ...], NoDecode]
ContextTokens = Annotated[dict[str, int], NoDecode]


class Environment(BaseSettings):
    """Every variable, its type and its default. Times are in seconds.

    Defaults are validated like values; an empty text is one that is not set.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    database_url: str = ""
    secret_key: SecretStr = SecretStr("")
    caylex_credential_keys: SecretStr = SecretStr("")
    debug: bool = False
    allowed_hosts: CommaList = ()
    csrf_trusted_origins: CommaList = ()
    email_url: SecretStr = SecretStr("")
    email_from: str = "caylex@localhost"
    caylex_public_url: str = ""

    openrouter_api_key: SecretStr = SecretStr("")
    openrouter_base_url: str = OPENROUTER
    caylex_default_model: str = "anthropic/claude-sonnet-4.6"
    caylex_allowed_models: CommaList = (
        "anthropic/claude-sonnet-4.6",
        "anthropic/claude-opus-4.8",
        "anthropic/claude-haiku-4.5",
        "openai/gpt-5.2",
        "google/gemini-3-pro-preview",
    )

    caylex_workers: int = Field(default=0, ge=0, le=256)  # 0: cores, or 1 on SQLite
    caylex_tasks_per_worker: int = Field(default=500, ge=1, le=10_000)
    caylex_drain_seconds: float = Field(default=20, ge=0, le=3600)
    caylex_lease_seconds: float = Field(default=30, gt=0, le=600)
    caylex_heartbeat_seconds: float = Field(default=5, gt=0, le=60)
    caylex_max_attempts: int = Field(default=5, ge=1, le=100)

    caylex_max_steps: int = Field(default=200, ge=1, le=1_000_000_000)
    caylex_task_timeout_seconds: float = Field(default=14_400, gt=0, le=31_536_000)
    caylex_tool_timeout_seconds: float = Field(default=120, gt=0, le=31_536_000)
    caylex_model_timeout_seconds: float = Field(default=300, gt=0, le=31_536_000)
    caylex_model_stall_seconds: float = Field(default=60, gt=0, le=31_536_000)
    caylex_direct_tools: int = Field(default=40, ge=1)
    caylex_context_tokens: ContextTokens = {}  # by model; "" stands for all others
    caylex_result_bytes: int = Field(default=2_000_000, ge=20_000, le=50_000_000)

    caylex_retention_days: int = Field(default=90, ge=0, le=36_500)  # 0: tasks are kept for ever
    caylex_sign_in_attempts: int = Field(default=5, ge=1, le=100)
    caylex_sign_in_lock_seconds: int = Field(default=900, ge=1, le=86_400)

    caylex_private_networks: CommaList = ()
    caylex_trusted_proxies: CommaList = ()  # networks, and "unix" for a Unix socket
    caylex_metrics_token: SecretStr = SecretStr("")  # empty: there is no /metrics

    @field_validator(
        "allowed_hosts",
        "csrf_trusted_origins",
        "caylex_allowed_models",
        "caylex_private_networks",
        "caylex_trusted_proxies",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("caylex_context_tokens", mode="before")
    @classmethod
    def _by_model(cls, value: object) -> object:
        return setting_values.tokens_by_model(value) if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _is_a_database(cls, value: str) -> str:
        if value == setting_values.SQLITE_IN_VAR:
            return SQLITE_FILE
        return value and setting_values.check_database_url(value)

    @field_validator("secret_key")
    @classmethod
    def _is_secret(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            setting_values.check_secret(value.get_secret_value())
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(setting_values.check_host(each) for each in value)

    @field_validator("csrf_trusted_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(setting_values.check_origin(each) for each in value)

    @field_validator("openrouter_base_url")
    @classmethod
    def _is_an_api(cls, value: str) -> str:
        return setting_values.check_model_address(value)

    @field_validator("caylex_public_url")
    @classmethod
    def _is_a_base(cls, value: str) -> str:
        return value and setting_values.check_base_url(value)

    @field_validator("caylex_private_networks")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            ipaddress.ip_network(each)
        return value

    @field_validator("caylex_trusted_proxies")
    @classmethod
    def _are_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if each != "unix":
                ipaddress.ip_network(each)
        return value

    @field_validator("caylex_credential_keys")
    @classmethod
    def _are_keys(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        parts = [part for part in text.split(",") if part.strip()]
        if text and not parts:
            raise ValueError("holds no key")
        for each in parts:
            _decode_key(each)
        return value

    @field_validator("caylex_metrics_token")
    @classmethod
    def _fits_a_header(cls, value: SecretStr) -> SecretStr:
        token = value.get_secret_value()
        if token and not re.fullmatch(r"[!-~]{16,}", token):
            raise ValueError("must be 16 or more printable ASCII characters without spaces")
        return value

    @model_validator(mode="after")
    def _is_complete(self) -> Environment:
        missing = [name for name in REQUIRED if name not in self.model_fields_set]
        if missing and not self.debug:
            raise ValueError(
                "\n".join(f"{name.upper()} is required unless DEBUG is on" for name in missing)
            )
        if self.caylex_default_model not in self.caylex_allowed_models:
            raise ValueError(
                "CAYLEX_DEFAULT_MODEL must be one of CAYLEX_ALLOWED_MODELS "
                f"({', '.join(self.caylex_allowed_models)})"
            )
        return self

    @property
    def on_sqlite(self) -> bool:
        """True when the database is the embedded one: one machine, one worker process."""
        return self.database_url.startswith("sqlite")

    @property
    def workers(self) -> int:
        """How many small clusters `qcluster` keeps."""
        if self.on_sqlite:
            return 1
        return self.caylex_workers or os.cpu_count() or 1

    def context_tokens(self, model: str) -> int | None:
        """Return the context window that is set for a model; None where none is."""
        by_model = self.caylex_context_tokens
        return by_model.get(model, by_model.get(""))

    @property
    def credential_keys(self) -> tuple[bytes, ...]:
        """The key ring for sealed credentials, newest first, 32 bytes each."""
        parts = self.caylex_credential_keys.get_secret_value().split(",")
        return tuple(_decode_key(part) for part in parts if part.strip())


def _decode_key(text: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != 32:
        raise ValueError("each key must be the base64 of 32 random bytes")
    return key


def _read_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the values of `NAME_FILE` variables for the names that Environment knows."""
    found = {}
    for name in map(str.upper, Environment.model_fields):
        path = environ.get(f"{name}_FILE")
        if not path:
            continue
        if environ.get(name):
            sys.exit(f"Settings: {name} and {name}_FILE are both set. Keep one of them.")
        try:
            text = Path(path).read_text().strip()
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            sys.exit(f"Settings: {name}_FILE: {path}: {why}")
        if text:
            found[name.lower()] = text
    return found


def _development_secret(name: str) -> str:
    """Return a secret kept in `var/`, made on first use; for DEBUG alone."""
    path = VAR_DIR / name
    private_folder(VAR_DIR)
    private_text(path, base64.b64encode(secrets.token_bytes(32)).decode())
    return path.read_text().strip()


def _check_certificates() -> None:
    """End the process where what `agent_runtime.net.tls` is to read is not there."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        value = os.environ.get(name, "")
        paths = value.split(os.pathsep) if name == "SSL_CERT_DIR" else [value]
        for path in filter(None, paths):
            if not os.access(path, os.R_OK):
                sys.exit(f"Settings: {name}: {path} cannot be read")


def unknown_names(environ: Iterable[str]) -> list[str]:
    """Return a sentence for each variable that looks like a setting of ours and is none."""
    known = {
        each for name in map(str.upper, Environment.model_fields) for each in (name, f"{name}_FILE")
    }
    found = []
    for name in sorted({each.upper() for each in environ} - known - OF_OTHER_PROGRAMS):
        if not name.startswith(("CAYLEX_", "OPENROUTER_")):
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if near:
            found.append(f"{name} is not a setting and is ignored. Did you mean {near[0]}?")
        elif name.startswith("CAYLEX_"):
            found.append(f"{name} is not a setting and is ignored.")
    return found


def load_environment() -> Environment:
    """Return the checked settings, or end the process with one line for each that is wrong.

    A name that is nearly one of ours is told of on stderr.
    """
    _check_certificates()
    for sentence in unknown_names(os.environ):
        print(f"Settings: {sentence}", file=sys.stderr)
    values: dict[str, Any] = dict(_read_files(os.environ))
    try:
        found = Environment(**values)
    except ValidationError as error:
        sys.exit("\n".join(line for each in error.errors() for line in _sentences(each)))
    return found if not found.debug else found.model_copy(update=_for_development(found))


def _for_development(found: Environment) -> dict[str, Any]:
    """Return what DEBUG makes up for: a database and secrets in `var/`."""
    made: dict[str, Any] = {} if found.database_url else {"database_url": SQLITE_FILE}
    for name in ("secret_key", "caylex_credential_keys"):
        if not getattr(found, name).get_secret_value():
            made[name] = SecretStr(_development_secret(name))
    return made


def _sentences(error: Any) -> list[str]:
    message = error["msg"].removeprefix("Value error, ")
    where = ".".join(str(part) for part in error["loc"]).upper()
    if not where:
        return [f"Settings: {line}" for line in message.split("\n")]
    kind = Environment.model_fields[str(error["loc"][0])].annotation
    value = error["input"]
    told = isinstance(value, str) and any(each.strip() in message for each in value.split(","))
    if kind is SecretStr or where in NOT_REPEATED or not isinstance(value, str) or told:
        return [f"Settings: {where}: {message}"]
    shown = value if len(value) <= 60 else f"{value[:59]}…"
    return [f"Settings: {where}: {message} (it is {shown!r})"]
