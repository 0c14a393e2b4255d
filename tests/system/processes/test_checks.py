"""The system checks of the settings that have to agree."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from django.core import checks
from django.core.management import get_commands, load_command_class
from django.test import override_settings

from tasks_app.management.commands.qcluster import Command
from tasks_app.monitoring.system_checks import TAG


def found() -> list[str | None]:
    return [each.id for each in checks.run_checks(tags=[TAG])]


def queue(**changes: Any) -> override_settings:
    return override_settings(Q_CLUSTER={**settings.Q_CLUSTER, "recycle": 0, **changes})


def environment(**changes: Any) -> override_settings:
    return override_settings(ENVIRONMENT=settings.ENVIRONMENT.model_copy(update=changes))


def test_the_service_s_own_settings_are_in_order() -> None:
    with queue():
        assert found() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"broker_class": None}, "caylex.E003"),
        ({"orm": "other"}, "caylex.E003"),
        ({"workers": 4}, "caylex.E003"),
        ({"scheduler": True}, "caylex.E003"),
        ({"guard_cycle": 0.2}, "caylex.E003"),
        ({"sync": True}, "caylex.E003"),
        ({"timeout": 60}, "caylex.E004"),
        ({"timeout": None}, "caylex.E004"),
        ({"recycle": 500}, "caylex.W002"),
    ],
)
def test_queue_settings_that_break_the_workers_are_named(
    changes: dict[str, Any], expected: str
) -> None:
    with queue(**changes):
        assert found() == [expected]


def test_a_lease_of_three_heartbeats_is_too_short() -> None:
    with queue(), environment(caylex_lease_seconds=15.0, caylex_heartbeat_seconds=5.0):
        assert found() == ["caylex.E005"]
    with queue(), environment(caylex_lease_seconds=15.1, caylex_heartbeat_seconds=5.0):
        assert found() == []


def test_workers_that_sqlite_cannot_have_are_named() -> None:
    with queue(), environment(database_url="sqlite:///x", caylex_workers=2):
        assert found() == ["caylex.W001"]
    with queue(), environment(database_url="postgresql://x/y", caylex_workers=2):
        assert found() == []


def test_a_pool_in_a_command_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.DATABASES["default"], "OPTIONS", {"pool": True})
    with queue(), override_settings(IN_COMMAND=True):
        assert found() == ["caylex.E006"]
    with queue(), override_settings(IN_COMMAND=False):
        assert found() == []


def test_the_order_of_the_apps_decides_whose_command_runs() -> None:
    assert get_commands()["qcluster"] == "tasks_app"
    assert type(load_command_class("tasks_app", "qcluster")) is Command
    swapped = ["django_q", *(app for app in settings.INSTALLED_APPS if app != "django_q")]
    with queue(), override_settings(INSTALLED_APPS=swapped):
        assert "caylex.E002" in found()


def test_the_command_has_the_stock_options() -> None:
    options = Command().create_parser("manage.py", "qcluster").parse_args(["--run-once", "-n", "x"])
    assert (options.run_once, options.cluster_name) == (True, "x")
