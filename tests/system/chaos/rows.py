"""The run's own look at the database, which the monkey takes away now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, connection

Result = TypeVar("Result")

PATIENCE = 60.0  # seconds that the database may be away before the run gives up


def insist(look: Callable[[], Result]) -> Result:
    """Return what `look` returns; while the database is away wait and look again."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return look()
        except (DatabaseError, InterfaceError):
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
