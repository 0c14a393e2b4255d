"""Settings from the environment, one table for the whole service.

The process refuses to start with a sentence that names the variable. Any variable may be
read from a file instead: `NAME_FILE` holds the path (secrets as service managers mount them).
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import re
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"
OPENROUTER = "https://openrouter.ai/api/v1"
OFFLINE_MODEL = "offline/fixed-policy"

CommaList = Annotated[tuple[str, ...], NoDecode]


class Environment(BaseSettings):
    """Every variable, its type and its default. Times are in seconds."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    database_url: str = f"sqlite:///{VAR_DIR / 'caylex.sqlite3'}"
    secret_key: SecretStr = SecretStr("")
    caylex_credential_keys: SecretStr = SecretStr("")
    debug: bool = False
    allowed_hosts: CommaList = ()
    csrf_trusted_origins: CommaList = ()
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

    caylex_max_steps: int = Field(default=200, ge=1)
    caylex_task_timeout_seconds: float = Field(default=14_400, gt=0)
    caylex_tool_timeout_seconds: float = Field(default=120, gt=0)
    caylex_model_timeout_seconds: float = Field(default=300, gt=0)
    caylex_model_stall_seconds: float = Field(default=60, gt=0)
    caylex_direct_tools: int = Field(default=40, ge=1)

    caylex_retention_days: int = Field(default=90, ge=0, le=36_500)  # 0: tasks are kept for ever
    caylex_sign_in_attempts: int = Field(default=5, ge=1, le=100)
    caylex_sign_in_lock_seconds: int = Field(default=900, ge=1, le=86_400)

    caylex_private_networks: CommaList = ()
    caylex_metrics_token: SecretStr = SecretStr("")  # empty: there is no /metrics

    @field_validator(
        "allowed_hosts",
        "csrf_trusted_origins",
        "caylex_allowed_models",
        "caylex_private_networks",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("openrouter_base_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/")

    @field_validator("caylex_private_networks")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
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
        if not self.debug:
            for name in ("secret_key", "caylex_credential_keys"):
                if not getattr(self, name).get_secret_value():
                    raise ValueError(f"{name.upper()} is required unless DEBUG is on")
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


def _read_files(environ: dict[str, str]) -> dict[str, str]:
    """Return the values of `NAME_FILE` variables for the names that Environment knows."""
    found = {}
    for name in Environment.model_fields:
        path = environ.get(f"{name.upper()}_FILE")
        if path and name.upper() not in environ:
            try:
                found[name] = Path(path).read_text().strip()
            except OSError as error:
                sys.exit(f"{name.upper()}_FILE: {path}: {error.strerror}")
    return found


def _development_secret(name: str) -> str:
    """Return a secret kept in `var/`, made on first use; for DEBUG alone."""
    path = VAR_DIR / name
    if not path.exists():
        VAR_DIR.mkdir(exist_ok=True)
        made = base64.b64encode(secrets.token_bytes(32)).decode()
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(made)
    return path.read_text().strip()


def _check_certificates() -> None:
    """End the process where what `agent_runtime.tls` is to read is not there."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        value = os.environ.get(name, "")
        paths = value.split(os.pathsep) if name == "SSL_CERT_DIR" else [value]
        for path in filter(None, paths):
            if not os.access(path, os.R_OK):
                sys.exit(f"Settings: {name}: {path} cannot be read")


def load_environment() -> Environment:
    """Return the checked settings, or end the process with one line for each that is wrong."""
    _check_certificates()
    values: dict[str, Any] = dict(_read_files(dict(os.environ)))
    if os.environ.get("DEBUG", "").lower() in ("1", "true", "yes", "on"):
        for name in ("secret_key", "caylex_credential_keys"):
            if name not in values and not os.environ.get(name.upper()):
                values[name] = _development_secret(name)
    try:
        return Environment(**values)
    except ValidationError as error:
        sys.exit("\n".join(_sentence(each) for each in error.errors()))


def _sentence(error: Any) -> str:
    message = error["msg"].removeprefix("Value error, ")
    where = ".".join(str(part) for part in error["loc"]).upper()
    return f"Settings: {where}: {message}" if where else f"Settings: {message}"
