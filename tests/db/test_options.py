"""How sessions are opened: nothing of the server's own settings is assumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dj_database_url
import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.base import DatabaseWrapper

from caylex_project.db import options
from tests.support.cluster import database_url

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

# What a careful administrator may have set for the database.
CAREFUL = {
    "default_transaction_isolation": "serializable",
    "datestyle": "SQL, DMY",
    "intervalstyle": "iso_8601",
    "lock_timeout": "1ms",
    "statement_timeout": "1ms",
    "idle_session_timeout": "1s",
    "idle_in_transaction_session_timeout": "1ms",
}


@contextmanager
def session(settings: dict[str, str], *, own: str = "") -> Iterator[BaseDatabaseWrapper]:
    """A fresh connection that is opened as ours are; `own` are the options of its address."""
    database: dict[str, Any] = {**connection.settings_dict, **dj_database_url.parse(database_url())}
    if own:
        database["OPTIONS"] = {**database["OPTIONS"], "options": own}
    options.apply(database, settings)
    made = DatabaseWrapper(database, "default")
    try:
        yield made
    finally:
        made.close()


def shown(made: BaseDatabaseWrapper, name: str) -> str:
    with made.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        return str(cursor.fetchone()[0])


@pytest.fixture
def careful() -> Iterator[None]:
    """The database has settings of its own."""
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    with connection.cursor() as cursor:
        for setting, value in CAREFUL.items():
            cursor.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {name} RESET ALL")


@pytest.mark.parametrize(
    ("settings", "limits"),
    [
        (options.for_web(), ("2500ms", "4s", "10s", "0")),
        (options.for_worker(lease=30.0), ("5s", "5min", "10s", "0")),
        (options.for_worker(lease=3.0), ("1s", "5min", "1s", "0")),
    ],
)
def test_our_settings_outrank_those_of_the_database(
    careful: None, settings: dict[str, str], limits: tuple[str, ...]
) -> None:
    with session(settings) as made:
        assert shown(made, "default_transaction_isolation") == "read committed"
        assert shown(made, "datestyle").startswith("ISO")
        assert shown(made, "intervalstyle") == "postgres"
        assert shown(made, "client_connection_check_interval") == "2s"
        assert limits == tuple(
            shown(made, name)
            for name in (
                "lock_timeout",
                "statement_timeout",
                "idle_in_transaction_session_timeout",
                "idle_session_timeout",
            )
        )


def test_a_command_assumes_the_same_and_has_no_limits_of_ours() -> None:
    with session(options.for_command()) as made:
        assert shown(made, "default_transaction_isolation") == "read committed"
        assert shown(made, "lock_timeout") == shown(made, "statement_timeout") == "0"


def test_what_the_operator_wrote_into_the_address_outranks_ours() -> None:
    with session(options.for_web(), own="-c statement_timeout=9000") as made:
        assert shown(made, "statement_timeout") == "9s"
        assert shown(made, "lock_timeout") == "2500ms"


def test_a_database_that_is_read_only_stays_so() -> None:
    with session(options.for_worker(lease=30.0), own="-c default_transaction_read_only=on") as made:
        assert shown(made, "transaction_read_only") == "on"


def test_the_settings_of_this_process_are_those_of_a_web_process() -> None:
    assert shown(connection, "idle_in_transaction_session_timeout") == "10s"
    assert shown(connection, options.RECEIVED) == "on"
