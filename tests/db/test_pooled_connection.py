"""The web process's pool, after the database has hung up on it."""

from __future__ import annotations

import threading

import pytest
from django.db import connection

CONNECTIONS = 8  # more than a request has patience for, were each waited for on its own


def open_at_once(count: int) -> None:
    """Fill the pool: each thread holds a connection until all have one."""
    barrier = threading.Barrier(count)

    def hold() -> None:
        try:
            connection.ensure_connection()
            barrier.wait(30)
        finally:
            connection.close()

    threads = [threading.Thread(target=hold) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_a_request_after_a_restart_of_the_database_is_served_by_a_new_connection() -> None:
    connection.close()  # it is one of the pool's, too
    open_at_once(CONNECTIONS)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert cursor.fetchone()[0] >= CONNECTIONS - 1
    own = connection.connection
    connection.close()
    own.close()  # as dead as the others
    with connection.cursor() as cursor:  # a PoolTimeout, were they found out one by one
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
