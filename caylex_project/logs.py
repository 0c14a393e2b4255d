"""Logs: one JSON object a line in production, readable lines under DEBUG, no secret in either.

Tracebacks never show local variables: those hold keys and prompts. What looks like one of our
secrets is cut out of every line, whoever logged it.
"""

from __future__ import annotations

import re
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REMOVED = "[removed]"
SECRET_NAMES = frozenset(
    {"authorization", "caylex_api_key", "api_key", "token", "secret", "password", "cookie"}
)
OURS = ("caylex_project", "skills_app", "tasks_app", "agent_runtime", "demo")
_SECRETS = re.compile(
    r"(?P<scheme>\b(?:Bearer|Basic)\s+)[^\s\"',]+"
    r"|(?P<key>\b[a-z]{2,3}_[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\.)"
    r"[^\s\"',]+"
    r"|(?P<address>://[^\s/:@]+:)[^\s/@]+(?=@)",
    re.IGNORECASE,
)


def _cut(match: re.Match[str]) -> str:
    kept = match["scheme"] or match["key"] or match["address"]
    return f"{kept}{REMOVED}"


def scrub(value: Any) -> Any:
    """Return `value` without what looks like a token, a key or a password in an address."""
    if isinstance(value, str):
        return _SECRETS.sub(_cut, value)
    if isinstance(value, dict):
        return {
            name: REMOVED if str(name).lower() in SECRET_NAMES else scrub(each)
            for name, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [scrub(each) for each in value]
    return value


def _scrub_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    scrubbed: EventDict = scrub(dict(event))
    return scrubbed


_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,  # frames and message, never local variables
]


def logging_settings(*, json_lines: bool) -> dict[str, Any]:
    """Set structlog up and return the value of Django's LOGGING.

    structlog's loggers and the standard library's end in the same handler (stderr) with the
    same processors. uvicorn's own access lines are silenced: they hold query strings.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if json_lines
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    to_root: dict[str, Any] = {"handlers": [], "level": "INFO", "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "lines": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _SHARED,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    _scrub_event,
                    renderer,
                ],
            }
        },
        "handlers": {"lines": {"class": "logging.StreamHandler", "formatter": "lines"}},
        "root": {"handlers": ["lines"], "level": "WARNING"},
        "loggers": {
            **dict.fromkeys(OURS, to_root),
            "django": to_root,
            "django.security": {**to_root, "level": "CRITICAL"},  # bad requests, with tracebacks
            "django.security.csrf": to_root,
            "django.request": {**to_root, "level": "ERROR"},  # our middleware has the others
            "django-q": {**to_root, "level": "WARNING"},  # it has a line for each knock
            "uvicorn": to_root,
            "uvicorn.error": to_root,
            "uvicorn.access": {"handlers": [], "level": "CRITICAL", "propagate": False},
        },
    }


# Addresses whose last part is a secret: the token of an auth link.
_SECRET_PATH = re.compile(r"(?P<kept>/connect)/(?!l/).*", re.DOTALL)


def loggable_path(path: str) -> str:
    """Return the path of a request as a log line may hold it."""
    return _SECRET_PATH.sub(r"\g<kept>/***", path) if path.startswith("/connect/") else path
