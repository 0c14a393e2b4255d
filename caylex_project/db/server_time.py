"""The time by the database's clock: leases and everything that workers compare use no other."""

from __future__ import annotations

import datetime

from django.db import connection


def database_now() -> datetime.datetime:
    """Return the database's clock: leases are compared by no other."""
    if connection.vendor != "postgresql":  # one machine, one clock
        return datetime.datetime.now(datetime.UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime.datetime = cursor.fetchone()[0]
        return moment
