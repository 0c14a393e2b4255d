"""System checks: settings that have to agree with each other for the workers to be right.

`manage.py check` runs them, and so does every command before it starts; `qcluster` runs these
alone, since the others load all that a web process needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from caylex_project.environment import Environment

TAG = "workers"
BROKER = "tasks_app.worker.process.broker.DatabaseBroker"

# What the doorbell's design asks of each of django-q2's settings, and why.
QUEUE_SETTINGS: dict[str, tuple[object, str]] = {
    "broker_class": (BROKER, "the stock brokers poll, and let database errors end the cluster"),
    "orm": ("default", "a knock has to be part of the transaction that writes the task"),
    "workers": (1, "each small cluster is one process"),
    "scheduler": (False, "a schedule of django-q2 runs any function that a row names"),
    "guard_cycle": (0.5, "the guard counts a job's seconds down in steps that must meet zero"),
    "sync": (False, "a knock would run in the process that submits"),
}
STOCK_DEFAULTS: dict[str, object] = {"guard_cycle": 0.5, "sync": False}


def check_workers(**_: object) -> list[CheckMessage]:
    """Return what is wrong with the settings that the workers depend on."""
    return [
        *_order_of_apps(list(settings.INSTALLED_APPS)),
        *_queue(settings.Q_CLUSTER),
        *_environment(settings.ENVIRONMENT),
        *_connections(settings.DATABASES["default"], in_command=settings.IN_COMMAND),
    ]


def _order_of_apps(apps: list[str]) -> Iterator[CheckMessage]:
    if "django_q" not in apps:
        yield Error("django_q is not in INSTALLED_APPS.", id="caylex.E001")
    elif "tasks_app" not in apps[: apps.index("django_q")]:
        yield Error(
            "tasks_app has to stand before django_q in INSTALLED_APPS.",
            hint="Otherwise `manage.py qcluster` is the stock one, which a killed worker hangs.",
            id="caylex.E002",
        )


def _queue(queue: dict[str, Any]) -> Iterator[CheckMessage]:
    for name, (wanted, reason) in QUEUE_SETTINGS.items():
        value = queue.get(name, STOCK_DEFAULTS.get(name))
        if value != wanted:
            yield Error(
                f"Q_CLUSTER[{name!r}] has to be {wanted!r}, not {value!r}: {reason}.",
                id="caylex.E003",
            )
    if queue.get("recycle", 500):
        yield Warning(
            "Q_CLUSTER['recycle'] has to be 0: otherwise each worker is replaced, and its tasks "
            "are handed back, after that many knocks.",
            id="caylex.W002",
        )
    timeout, retry = queue.get("timeout"), queue.get("retry", 60)
    if not timeout or timeout >= retry:
        yield Error(
            f"Q_CLUSTER['timeout'] ({timeout}) has to be less than Q_CLUSTER['retry'] ({retry}).",
            hint="A message that is still being worked on would be delivered again.",
            id="caylex.E004",
        )


def _environment(environment: Environment) -> Iterator[CheckMessage]:
    lease, heartbeat = environment.caylex_lease_seconds, environment.caylex_heartbeat_seconds
    if lease <= 3 * heartbeat:
        yield Error(
            f"CAYLEX_LEASE_SECONDS ({lease:g}) has to be more than three times "
            f"CAYLEX_HEARTBEAT_SECONDS ({heartbeat:g}).",
            hint="A single late heartbeat would cost a healthy worker its tasks.",
            id="caylex.E005",
        )
    if environment.on_sqlite and environment.caylex_workers > 1:
        yield Warning(
            f"CAYLEX_WORKERS is {environment.caylex_workers}, but SQLite has one worker process.",
            hint="Use PostgreSQL for more.",
            id="caylex.W001",
        )


def _connections(database: dict[str, Any], *, in_command: bool) -> Iterator[CheckMessage]:
    pooled = bool(database.get("OPTIONS", {}).get("pool"))
    if in_command and pooled:
        yield Error(
            "A management command must not use a pool of database connections.",
            hint="`qcluster` forks, and a pool does not survive that.",
            id="caylex.E006",
        )
