"""The cluster with the stub engine, on whichever database the suite runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest
from django.db import connection

from tests.support import fork_server
from tests.support.cluster import Cluster, database_url, running_cluster

SETTINGS = "tests.system.processes.settings"

StartCluster = Callable[..., AbstractContextManager[Cluster]]


@pytest.fixture(scope="session")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a migrated SQLite file, which other processes can see."""
    address = f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'test.sqlite3'}"
    manage("migrate", "--verbosity", "0", database=address)
    return address


@pytest.fixture
def database(request: pytest.FixtureRequest, transactional_db: None) -> str:
    """The address of a database that both this test's processes and its clusters use."""
    if connection.vendor == "sqlite" and not Path(connection.settings_dict["NAME"]).is_file():
        return str(request.getfixturevalue("sqlite_file"))
    return database_url()


@pytest.fixture
def start_cluster(database: str) -> StartCluster:
    """`running_cluster` with the stub engine."""
    return partial(running_cluster, settings=SETTINGS, database=database)


def manage(*arguments: str, database: str) -> None:
    """Run a management command on a database, and fail with what it said if it fails."""
    environment = {**os.environ, "DATABASE_URL": database, "DJANGO_SETTINGS_MODULE": SETTINGS}
    done = fork_server.run("manage.py", *arguments, environment=environment)
    assert done.returncode == 0, done.stderr
