"""A worker's share in what is done portion by portion."""

import asyncio
import datetime
from collections.abc import Callable

import pytest
from django.db import InterfaceError, OperationalError, ProgrammingError

from tasks_app.worker.maintenance import batches


@pytest.mark.parametrize("error", [OperationalError, InterfaceError, ProgrammingError])
async def test_a_database_that_fails_ends_no_duty(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    monkeypatch.setattr(batches, "EVERY", 0.0)
    draining = asyncio.Event()
    looks: list[datetime.datetime] = []

    def next_portion(*, now: datetime.datetime) -> bool:
        looks.append(now)
        if len(looks) == 1:
            raise error("gone")
        draining.set()
        return False

    async def run_unit(function: Callable[..., bool], *, now: datetime.datetime) -> bool:
        return function(now=now)

    async with asyncio.timeout(5):
        await batches.run_batches(next_portion, run_unit, draining)
    assert len(looks) == 2
