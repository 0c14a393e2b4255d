"""`qcluster` on a database without our tables says what to do, in one sentence."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.db import connection

from tests.support import fork_server
from tests.support.cluster import running_cluster

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[str]:
    """The address of a database without any table."""
    if connection.vendor == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite3'}"
        return
    name = f"empty_{uuid.uuid4().hex}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    yield urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_it_ends_with_code_1_and_starts_nothing(empty: str) -> None:
    variables = {**os.environ, "DATABASE_URL": empty}
    done = fork_server.run("manage.py", "qcluster", environment=variables)
    assert done.returncode == 1
    said = done.stderr.strip()
    assert re.fullmatch(
        r"CommandError: The database lacks \d+ migrations, the first is \w+\.\w+\. "
        r"Run `manage\.py migrate`\.",
        said,
    ), said
    assert done.stdout == ""


def test_a_database_that_is_away_is_waited_for(tmp_path: Path) -> None:
    missing = f"sqlite:///{tmp_path / 'missing' / 'none.sqlite3'}"
    if connection.vendor == "postgresql":
        missing = f"postgresql://u@127.0.0.1:1/none?host={tmp_path}"
    with running_cluster(database=missing) as cluster:
        cluster.wait_for("Small cluster 1 started")
        assert cluster.process.poll() is None
