"""What of the database's own settings is not as the code assumes, as findings of `doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from django.db import connection

from caylex_project.db.options import ASSUMED, RECEIVED
from tasks_app.monitoring.findings import Finding, Level

UNREADABLE = "session_settings"  # with these the rest cannot be read, or not be relied on
_DURABLE = "synchronous_commit"
_READ_ONLY = "transaction_read_only"
LOCK_SECONDS = 5  # what watches the service must not hang with it
_READ = """
SELECT name, current_setting(name, true), set_config('lock_timeout', %s, false)
FROM unnest(%s::text[]) name
"""


def session_findings() -> Iterator[Finding]:
    """Yield what is wrong with the settings that this session has; nothing on SQLite.

    From here on the session waits no longer than LOCK_SECONDS for a lock.
    """
    if connection.vendor == "postgresql":
        found = _settings()
        yield from _writes(found)
        yield from _options(found)
        yield from _durability(found)


def _settings() -> Mapping[str, str]:
    names = [*ASSUMED, RECEIVED, _DURABLE, _READ_ONLY]
    with connection.cursor() as cursor:
        cursor.execute(_READ, [f"{LOCK_SECONDS}s", names])
        return {name: setting or "" for name, setting, _ in cursor.fetchall()}


def _writes(found: Mapping[str, str]) -> Iterator[Finding]:
    if found[_READ_ONLY] == "on":
        yield Finding(
            level=Level.CRITICAL,
            code="database_read_only",
            what="The database takes no writes: it is a standby, or default_transaction_read_only "
            "is on.",
            advice="Tasks wait and requests get 503 until it takes writes again; no task is lost. "
            "Point DATABASE_URL to the primary, or turn the setting off.",
        )


def _options(found: Mapping[str, str]) -> Iterator[Finding]:
    if not found[RECEIVED]:
        yield Finding(
            level=Level.WARNING,
            code="options_not_received",
            what="The database did not receive the options of this connection: no time limit of "
            "docs/operations.md is in force.",
            advice="A pooler in between drops them. Have it pass `options` on, or connect without "
            "it.",
        )
    wrong = [name for name, value in ASSUMED.items() if not found[name].startswith(value)]
    if wrong:
        yield Finding(
            level=Level.CRITICAL,
            code=UNREADABLE,
            what="Settings of the database's sessions are not what the service needs: "
            + ", ".join(f"{name} is {found[name]!r}, not {ASSUMED[name]!r}" for name in wrong)
            + ". The rest was not looked at.",
            advice="Remove them from the options in DATABASE_URL, or from the pooler's settings.",
        )


def _durability(found: Mapping[str, str]) -> Iterator[Finding]:
    if found[_DURABLE] == "off":
        yield Finding(
            level=Level.WARNING,
            code="commits_not_durable",
            what="synchronous_commit is off: what was committed in the last moments is lost when "
            "the database crashes, and a tool call that was sent may be sent again.",
            advice="Set synchronous_commit to on for the database and its role.",
        )
