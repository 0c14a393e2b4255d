"""What the texts of settings have to look like. Each function raises ValueError with a sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

import dj_database_url
from psycopg import ProgrammingError
from psycopg.conninfo import make_conninfo

POSTGRESQL = ("postgresql", "postgres", "pgsql")
SQLITE_IN_VAR = "sqlite://"  # stands for the file in `var/`
OF_DJANGO = frozenset({"isolation_level", "server_side_binding", "assume_role", "pool"})
SHORTEST_SECRET = 32  # characters
FEWEST_DIFFERENT = 8
FEWEST_TOKENS = 2_000  # of a model's context window
MAX_TOKENS = 100_000_000

_FORMS = "Use postgresql://user:password@host/name, sqlite:///path, or sqlite:// for a file in var/"
_HOST = re.compile(r"\*|\.?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?|\[[0-9A-Fa-f:.]+\]")
_PLACEHOLDER = re.compile(
    r"django-insecure-|insecure|change[-_ ]?(me|this|it)|replace[-_ ]?(me|this)|your[-_ ]|todo|xxx|"
    r"(my[-_ ]?)?(super[-_ ]?)?secret([-_ ]?key)?([-_ ]|$)|password|example|placeholder|test[-_ ]",
    re.IGNORECASE,
)


def check_database_url(url: str) -> str:
    """Return the URL where it names a database that the service can use.

    Its value is in none of the sentences: it holds a password.
    """
    try:
        found = dj_database_url.parse(url)
    except ValueError:
        raise ValueError(f"cannot be read. {_FORMS}") from None
    scheme = url.partition(":")[0]
    if scheme not in (*POSTGRESQL, "sqlite"):
        raise ValueError(f"names a database that is not supported. {_FORMS}")
    name = found["NAME"]
    if scheme == "sqlite" and (not name or name == ":memory:" or found["HOST"]):
        raise ValueError(f"names no file. {_FORMS}")
    if not name:
        raise ValueError(f"names no database. {_FORMS}")
    _check_options(found.get("OPTIONS", {}), scheme=scheme)
    return url


def _check_options(options: Mapping[str, Any], *, scheme: str) -> None:
    if options and scheme == "sqlite":
        raise ValueError("takes no parameters for SQLite")
    for name in options.keys() - OF_DJANGO:
        try:
            make_conninfo(**{name: options[name]})
        except ProgrammingError:
            raise ValueError(f"has a parameter that PostgreSQL does not know: {name}") from None


def tokens_by_model(text: str) -> dict[str, int]:
    """Return the windows in `128000` or `model=200000, other/model=32000`; "" is any model."""
    found: dict[str, int] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        model, _, number = part.rpartition("=")
        if not number.strip().isdecimal() or not (FEWEST_TOKENS <= int(number) <= MAX_TOKENS):
            raise ValueError(
                f"must be a number of tokens from {FEWEST_TOKENS:,} to {MAX_TOKENS:,}, or pairs "
                "as in model=200000,other/model=32000"
            )
        found[model.strip()] = int(number)
    return found


def check_host(host: str) -> str:
    """Return a host name as `ALLOWED_HOSTS` holds it: without a scheme, a port or a path."""
    if not _HOST.fullmatch(host):
        raise ValueError(
            f"{host!r} is no host name. Give names alone, like tasks.example.com, without a scheme "
            "or a port"
        )
    return host


def check_origin(origin: str) -> str:
    """Return an origin as `CSRF_TRUSTED_ORIGINS` holds it: a scheme, a host, a port if need be."""
    parts = _web_address(origin)
    if parts.path or parts.query or parts.fragment:
        raise ValueError(f"{origin!r} has more than a scheme, a host and a port")
    return origin


def check_base_url(url: str, *, user_info: bool = False) -> str:
    """Return an address below which others lie, without a slash at its end."""
    parts = _web_address(url, user_info=user_info)
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or a fragment")
    return url.rstrip("/")


def check_model_address(url: str) -> str:
    """Return the address of a provider's API, to which the service adds `/chat/completions`."""
    address = check_base_url(url, user_info=True)
    if address.endswith(("/chat/completions", "/completions", "/models")):
        raise ValueError(
            "names one of the API's own addresses. Give the part before it, like "
            "https://openrouter.ai/api/v1: the service adds /chat/completions"
        )
    return address


def check_secret(text: str) -> str:
    """Return a secret that nobody can guess, as far as can be seen. It is in no sentence."""
    how = "Make one with: head -c 40 /dev/urandom | base64 -w 0"
    if len(text) < SHORTEST_SECRET:
        raise ValueError(f"has {len(text)} characters and needs {SHORTEST_SECRET} or more. {how}")
    if len(set(text)) < FEWEST_DIFFERENT or _repeats(text) or _PLACEHOLDER.match(text.strip()):
        raise ValueError(f"can be guessed: it is a placeholder or repeats itself. {how}")
    return text


def _repeats(text: str) -> bool:
    """Tell whether the text is one part of it, written twice or more."""
    return any(
        text == (text[:length] * len(text))[: len(text)] for length in range(1, len(text) // 2 + 1)
    )


def _web_address(url: str, *, user_info: bool = False) -> SplitResult:
    if not url.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  the property is what raises
    except ValueError:
        raise ValueError("cannot be read as an address") from None
    if not parts.hostname or any(each.isspace() for each in url):
        raise ValueError("must name a host, and hold no spaces")
    if parts.username is not None and not user_info:
        raise ValueError("must not hold a user name or password")
    return parts
