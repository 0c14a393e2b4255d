"""What `/metrics` tells: the rows as gauges, read when somebody asks.

No label names a tenant, a project, a user or a task. Each web process gives the same answer,
so one of them is enough to scrape.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from django.db import Error
from django.db.models import Count, Q, Sum
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tasks_app.models import AgentTask
from tasks_app.monitoring.stats import ServiceStats, collect_stats
from tasks_app.states import Status, WorkerState

RECENT = datetime.timedelta(hours=1)
RECENT_TASKS = 20_000  # at most so many of the newest are read

_USAGE = {
    "steps": "steps_completed",
    "tool_calls": "tool_calls_made",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached_input_tokens": "cached_input_tokens",
    "reasoning_tokens": "reasoning_tokens",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """The tasks submitted in the last hour, and what they have used so far.

    `capped` is True when there were more than `RECENT_TASKS`; the newest were read.
    """

    by_status: dict[Status, int]
    usage: dict[str, int]
    cost_usd: Decimal
    capped: bool


def read_recent(*, now: datetime.datetime) -> Recent:
    """Return the last hour's tasks in one query: a stretch of the index `task_newest`."""
    newest = AgentTask.objects.filter(created_at__gte=now - RECENT)
    newest = newest.order_by("-created_at", "-id")[:RECENT_TASKS]
    found = newest.aggregate(
        **{f"is_{each}": Count("pk", filter=Q(status=each)) for each in Status},
        **{name: Sum(column, default=0) for name, column in _USAGE.items()},
        cost=Sum("cost_usd", default=Decimal(0)),
    )
    by_status = {each: found[f"is_{each}"] for each in Status}
    return Recent(
        by_status=by_status,
        usage={name: found[name] for name in _USAGE},
        cost_usd=Decimal(found["cost"]),
        capped=sum(by_status.values()) >= RECENT_TASKS,
    )


class DatabaseCollector(Collector):
    """Reads the database at each scrape; when it is away says that and nothing else."""

    def collect(self) -> Iterator[Metric]:
        """Yield the families; all of them come from before the first is yielded."""
        try:
            figures = collect_stats()
            recent = read_recent(now=figures.at)
        except Error:
            yield _gauge("database_up", "1 when the database answers, else 0.", 0)
            return
        yield _gauge("database_up", "1 when the database answers, else 0.", 1)
        yield from _tasks(figures)
        yield from _workers(figures)
        yield from _recent(recent)


def scrape() -> bytes:
    """Return the metrics in the Prometheus text format."""
    registry = CollectorRegistry()
    registry.register(DatabaseCollector())
    return generate_latest(registry)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"caylex_{name}", text, value=value)


def _labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"caylex_{name}", text, labels=[label])
    for each, value in values.items():
        family.add_metric([each], value)
    return family


def _tasks(figures: ServiceStats) -> Iterator[Metric]:
    pending = figures.due + figures.waiting + figures.suspended + figures.quarantined
    yield _labelled(
        "tasks",
        "Tasks that are not over, by status; each count stops at 100000.",
        "status",
        {Status.PENDING: pending, Status.RUNNING: figures.running},
    )
    yield _gauge("tasks_due", "PENDING tasks that a worker should claim now.", figures.due)
    yield _gauge("tasks_waiting", "PENDING tasks whose next attempt is later.", figures.waiting)
    yield _gauge(
        "tasks_suspended",
        "PENDING tasks whose project or tenant is paused or disabled.",
        figures.suspended,
    )
    yield _gauge(
        "tasks_quarantined", "PENDING tasks kept apart: workers died of them.", figures.quarantined
    )
    yield _gauge(
        "tasks_orphaned", "RUNNING tasks that no worker within its lease holds.", figures.orphaned
    )
    yield _gauge("tasks_stopping", "Tasks asked to stop that are not over.", figures.stopping)
    yield _gauge(
        "oldest_due_seconds",
        "How long the task that is due longest has been due; 0 when none is.",
        figures.oldest_due_seconds,
    )
    yield _gauge("wakeup_messages", "Messages in the doorbell's queue.", figures.wakeup_messages)


def _workers(figures: ServiceStats) -> Iterator[Metric]:
    late = sum(worker.late for worker in figures.workers)
    alive = figures.alive
    draining = len(figures.workers) - late - len(alive)
    yield _labelled(
        "workers",
        "Worker processes; late ones have lost their lease and are not buried yet.",
        "state",
        {WorkerState.ALIVE: len(alive), WorkerState.DRAINING: draining, "late": late},
    )
    yield _gauge(
        "worker_versions",
        "Different versions among the workers.",
        len({worker.version for worker in figures.workers}),
    )
    yield _gauge(
        "workers_held",
        "Tasks in the workers' hands at their last heartbeats.",
        sum(worker.held for worker in figures.workers),
    )
    yield _gauge(
        "workers_capacity",
        "Tasks that the alive workers may hold, those places included that are the quarantine's.",
        sum(worker.capacity for worker in alive),
    )


def _recent(recent: Recent) -> Iterator[Metric]:
    yield _labelled(
        "recent_tasks",
        "Tasks submitted in the last hour, by where they stand now.",
        "status",
        {status.value: count for status, count in recent.by_status.items()},
    )
    yield _labelled(
        "recent_usage",
        "What the tasks submitted in the last hour have used so far.",
        "kind",
        recent.usage,
    )
    yield _gauge(
        "recent_cost_usd",
        "What the provider charged for the tasks submitted in the last hour so far.",
        float(recent.cost_usd),
    )
    yield _gauge(
        "recent_capped",
        f"1 when more than {RECENT_TASKS} tasks came in the last hour; the newest are told of.",
        int(recent.capped),
    )
