"""Which errors of a database mean "not now", by what real servers raise."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import psycopg_pool
import pytest
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    connection,
    transaction,
)
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLite
from django.test import Client, override_settings
from django.urls import path

from caylex_project import urls
from caylex_project.db.outage import is_outage

NOT_NOW = {
    "08006": "connection failure",
    "25006": "read-only transaction",
    "25P03": "idle in transaction for too long",
    "25P04": "transaction took too long",
    "40001": "serialization failure",
    "40P01": "deadlock",
    "53100": "disk full",
    "53200": "out of memory",
    "53300": "too many connections",
    "55P03": "lock not available",
    "55006": "object in use",
    "57014": "statement timeout",
    "57P01": "admin shutdown",
    "57P02": "crash shutdown",
    "57P03": "cannot connect now",
    "57P05": "idle session timeout",
    "58030": "input/output error",
}
NEVER = {
    "22P05": "a character that cannot be stored",
    "23505": "unique violation",
    "25P02": "in a failed transaction",
    "42P01": "no such table",
    "42501": "permission denied",
    "54000": "more than the server can take",
    "0A000": "not supported",
    "XX000": "internal error",
}


def raised_by(state: str) -> DatabaseError:
    """Have PostgreSQL raise an error with this SQLSTATE, and return what Django makes of it."""
    with pytest.raises(DatabaseError) as raised, transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$")
    assert getattr(raised.value.__cause__, "sqlstate", None) == state
    return raised.value


@pytest.mark.postgresql
@pytest.mark.django_db
@pytest.mark.parametrize("state", NOT_NOW)
def test_what_the_server_may_do_later_is_an_outage(state: str) -> None:
    error = raised_by(state)
    assert is_outage(error)
    assert error.__cause__ is not None
    assert is_outage(error.__cause__), "the driver's own error means the same"


@pytest.mark.postgresql
@pytest.mark.django_db
@pytest.mark.parametrize("state", NEVER)
def test_what_the_server_will_never_do_is_none(state: str) -> None:
    assert not is_outage(raised_by(state))


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("connection failed"),
        InterfaceError("the connection is closed"),
        psycopg.OperationalError("consuming input failed"),
        psycopg_pool.PoolTimeout("couldn't get a connection"),
        sqlite3.OperationalError("made by hand"),
    ],
)
def test_without_a_code_the_class_decides(error: Exception) -> None:
    assert is_outage(error)


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("x"), OSError("x"), ProgrammingError("x")]
)
def test_other_exceptions_are_none(error: Exception) -> None:
    assert not is_outage(error)


@contextmanager
def locked(name: str) -> Iterator[str]:
    other = sqlite3.connect(name, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    yield name
    other.close()


@contextmanager
def read_only(name: str) -> Iterator[str]:
    yield f"file:{name}?mode=ro"


@contextmanager
def missing(name: str) -> Iterator[str]:
    yield f"{name}/nowhere/none.sqlite3"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (locked, "SQLITE_BUSY"),
        (read_only, "SQLITE_READONLY"),
        (missing, "SQLITE_CANTOPEN"),
    ],
)
def test_what_sqlite_may_do_later_is_an_outage(
    tmp_path: Path, trouble: Callable[[str], Any], expected: str
) -> None:
    name = str(tmp_path / "db.sqlite3")
    made = sqlite3.connect(name)
    made.execute("CREATE TABLE t (x)")
    made.close()
    with trouble(name) as address:
        error = sqlite_error(address, "INSERT INTO t VALUES (1)")
    assert getattr(error.__cause__, "sqlite_errorname", "") == expected
    assert is_outage(error)


@pytest.mark.django_db
def test_a_full_sqlite_is_an_outage_and_a_missing_table_is_none(tmp_path: Path) -> None:
    name = str(tmp_path / "db.sqlite3")
    full = sqlite_error(
        name,
        "CREATE TABLE t (x)",
        "PRAGMA max_page_count = 3",
        "INSERT INTO t VALUES (zeroblob(100000))",
    )
    assert getattr(full.__cause__, "sqlite_errorname", "") == "SQLITE_FULL"
    assert is_outage(full)
    missing = sqlite_error(name, "SELECT * FROM nowhere")
    assert isinstance(missing, OperationalError)
    assert not is_outage(missing)


def sqlite_error(name: str, *statements: str) -> DatabaseError:
    """Run statements through Django and return the error of the last."""
    settings = {**connection.settings_dict, "NAME": name, "OPTIONS": {"timeout": 0, "uri": True}}
    database = SQLite(settings, "other")
    try:
        for each in statements[:-1]:
            database.cursor().execute(each)
        with pytest.raises(DatabaseError) as raised:
            database.cursor().execute(statements[-1])
        return raised.value
    finally:
        database.close()


def fail(request: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO auth_group (name) VALUES ('x')")


def break_down(request: Any) -> Any:
    raise RuntimeError("insides")


class Urls:
    """Addresses outside the API."""

    handler500 = "caylex_project.web.server_errors.server_error"
    urlpatterns = [path("fail", fail), path("break", break_down)]


@pytest.mark.django_db(transaction=True)
def test_a_page_outside_the_api_says_503_while_the_database_takes_no_writes() -> None:
    with override_settings(ROOT_URLCONF=Urls), no_writes():
        answer = Client(raise_request_exception=False).get("/fail", secure=True)
    assert answer.status_code == 503
    assert answer["Retry-After"] == "5"
    assert "The database does not answer now." in answer.content.decode()


def test_a_page_that_breaks_for_another_reason_stays_500() -> None:
    with override_settings(ROOT_URLCONF=Urls):
        answer = Client(raise_request_exception=False).get("/break", secure=True)
    assert answer.status_code == 500
    assert "Retry-After" not in answer
    assert "insides" not in answer.content.decode()


@contextmanager
def no_writes() -> Iterator[None]:
    """Let this thread's connection write nothing."""
    on, off = "SET default_transaction_read_only = on", "SET default_transaction_read_only = off"
    if connection.vendor == "sqlite":
        on, off = "PRAGMA query_only = 1", "PRAGMA query_only = 0"
    with connection.cursor() as cursor:
        cursor.execute(on)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(off)


def test_every_address_of_the_service_has_the_handler() -> None:
    assert urls.handler500 == Urls.handler500
