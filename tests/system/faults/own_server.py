"""A PostgreSQL server of a test's own, which nobody else misses when it is changed or away."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dj_database_url
import psycopg
from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper

from tests.support.fork_server import ROOT
from tests.system.chaos.databases import Postgresql


@contextmanager
def migrated_server() -> Iterator[Postgresql]:
    """A running server with our tables, in a folder that its user can read again after a reload."""
    with tempfile.TemporaryDirectory(prefix="caylex-test-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        server = Postgresql(folder=Path(folder))
        try:
            migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
            environment = {**os.environ, "DATABASE_URL": server.url}
            subprocess.run(migrate, cwd=ROOT, env=environment, check=True)
            yield server
        finally:
            server.close()


@contextmanager
def connected(url: str) -> Iterator[None]:
    """Let this thread's connection lead to another server."""
    before = connections["default"]
    settings = {**before.settings_dict, **dj_database_url.parse(url)}
    connections["default"] = DatabaseWrapper(settings, "default")
    try:
        yield
    finally:
        connections["default"].close()
        connections["default"] = before


@contextmanager
def administrator(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection that no setting of the database reaches."""
    with psycopg.connect(url, autocommit=True) as made:
        made.execute("SET default_transaction_read_only = off")
        yield made


@contextmanager
def read_only(url: str) -> Iterator[None]:
    """Let nobody write, as an administrator does before a failover; open sessions included."""
    with administrator(url) as admin:
        admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        admin.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
            admin.execute("SELECT pg_reload_conf()")


@contextmanager
def locked(url: str, table: str) -> Iterator[psycopg.Connection[Any]]:
    """Hold a table as ALTER TABLE and VACUUM FULL do; yields the connection that does."""
    with psycopg.connect(url) as holder:
        holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield holder
        holder.rollback()


def sessions(holder: psycopg.Connection[Any]) -> int:
    """Return how many connections of clients the server has, the caller's own not counted."""
    found = holder.execute(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    ).fetchone()
    assert found is not None
    return int(found[0])
