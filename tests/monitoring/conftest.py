"""A service in good order, and the ways in which it is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from django.test import override_settings

from caylex_project import VERSION
from tasks_app.models import Worker
from tasks_app.monitoring import stats
from tests.support.factories import WorkerFactory

TOKEN = "a-token-for-metrics-0123456789"


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """Let each test ask for the migrations anew."""
    stats._migrated.clear()
    yield
    stats._migrated.clear()


@pytest.fixture
def worker(db: None) -> Worker:
    """A worker that claims tasks."""
    made: Worker = WorkerFactory.create(version=VERSION)
    return made


@pytest.fixture
def with_token() -> Iterator[None]:
    """CAYLEX_METRICS_TOKEN is set to TOKEN."""
    changed = settings.ENVIRONMENT.model_validate(
        {**settings.ENVIRONMENT.model_dump(), "caylex_metrics_token": TOKEN}
    )
    with override_settings(ENVIRONMENT=changed):
        yield


@pytest.fixture
def database_away(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_blocker: Any,
) -> Iterator[None]:
    """Connections are to a place where no database is; on PostgreSQL through a pool."""
    away: Any = connections["default"].copy(alias="away")
    folder = tmp_path_factory.mktemp("nowhere") / "missing"
    if away.vendor == "postgresql":
        pool = {"pool": {"min_size": 0, "max_size": 1, "timeout": 0.2}}
        away.settings_dict = {**away.settings_dict, "HOST": str(folder), "OPTIONS": pool}
    else:
        away.settings_dict = {**away.settings_dict, "NAME": str(folder / "none.sqlite3")}
    monkeypatch.setattr(connections._connections, "default", away)  # type: ignore[attr-defined]
    with django_db_blocker.unblock():
        yield
    if away.vendor == "postgresql":
        away.close_pool()
