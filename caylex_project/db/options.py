"""How every connection to PostgreSQL is opened, so that no setting of the server is assumed.

Options of a connection outrank what an administrator set for the server, the database or the
role; what stands in `DATABASE_URL` outranks them. `default_transaction_read_only` is left alone: it
is how an administrator says that nothing may be written now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What the code assumes: READ COMMITTED sees what others have just committed, psycopg reads dates
# and intervals in one style only. `manage.py doctor` reads them back.
ASSUMED: Mapping[str, str] = {
    "default_transaction_isolation": "read committed",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "standard_conforming_strings": "on",
}
RECEIVED = "caylex.options"  # a setting of our own: a pooler that drops options drops it too

WEB_SECONDS = 4.0  # the longest wait of a web process for a connection or a statement
WEB_LOCK_SECONDS = 2.5  # ... for a lock; the rest of the five seconds is for the other statements
WEB_IDLE_SECONDS = 10.0  # the longest pause within a transaction: a process that stands still
WORKER_LOCK_SECONDS = 5.0  # at most; a third of a shorter lease
WORKER_STATEMENT_SECONDS = 300.0  # none of ours takes long; one that does is broken off
CHECK_CLIENT_SECONDS = 2.0  # a session that waits for a lock ends so long after its client

# Of libpq: a machine that vanished is noticed within 20 seconds.
_NETWORK: Mapping[str, int] = {
    "connect_timeout": int(WEB_SECONDS),
    "keepalives_idle": 8,
    "keepalives_interval": 4,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


def for_command() -> dict[str, str]:
    """Return the settings of a management command's session: no time limits, `migrate` may wait."""
    return {**ASSUMED, RECEIVED: "on"}


def for_web() -> dict[str, str]:
    """Return the settings of a web process' sessions: every wait ends before the caller's does."""
    return {
        **for_command(),
        "lock_timeout": _milliseconds(WEB_LOCK_SECONDS),
        "statement_timeout": _milliseconds(WEB_SECONDS),
        **_ended_by_the_server(idle=WEB_IDLE_SECONDS),
        # Our queries end after a page. Starting helpers for one takes longer than answering it.
        "max_parallel_workers_per_gather": "0",
    }


def for_worker(*, lease: float) -> dict[str, str]:
    """Return the settings of a worker's sessions; `lease` in seconds.

    A worker that is frozen within a transaction keeps its locks for a third of its lease at most:
    they keep every sweep from freeing its tasks.
    """
    return {
        **for_command(),
        "lock_timeout": _milliseconds(min(WORKER_LOCK_SECONDS, lease / 3)),
        "statement_timeout": _milliseconds(WORKER_STATEMENT_SECONDS),
        **_ended_by_the_server(idle=lease / 3),
    }


def apply(database: dict[str, Any], settings: Mapping[str, str]) -> None:
    """Add session settings and network limits to a database's OPTIONS; those there win."""
    options = database.setdefault("OPTIONS", {})
    ours = " ".join(f"-c {name}={_escaped(value)}" for name, value in settings.items())
    options["options"] = f"{ours} {options.get('options', '')}".strip()
    for name, value in _NETWORK.items():
        options.setdefault(name, value)


def _ended_by_the_server(*, idle: float) -> dict[str, str]:
    """Return what ends sessions nobody uses any more, and nothing else: LISTEN is always idle."""
    return {
        "idle_in_transaction_session_timeout": _milliseconds(idle),
        "client_connection_check_interval": _milliseconds(CHECK_CLIENT_SECONDS),
        "idle_session_timeout": "0",
    }


def _milliseconds(seconds: float) -> str:
    return str(max(1, int(seconds * 1000)))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
