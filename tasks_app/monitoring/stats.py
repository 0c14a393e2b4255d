"""How the service stands, read from its rows with queries that stay cheap.

A million tasks that are over cost nothing here: what is live has partial indexes of its own,
and every count stops at `COUNT_TO`. `unopenable_credentials` and `in_doubt` read more than an
index; they are for a command, not for a scrape.
"""

from __future__ import annotations

import datetime
import threading
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import Error, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Min, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now
from django_q.models import OrmQ

from agent_runtime.messages import CallState
from caylex_project.accounts.models import Project, Tenant
from caylex_project.accounts.suspension import active_projects, suspended_projects
from caylex_project.db.server_time import database_now
from caylex_project.integrations.credentials import value_of
from caylex_project.integrations.models import Credential
from tasks_app.models import AgentTask, ToolCall, Worker
from tasks_app.states import PRIORITIES, Status, WorkerState
from tasks_app.worker.claiming.quarantine import QUARANTINED_AT

COUNT_TO = 100_000  # no count goes on beyond this; it then means "at least"
REASONS_OF = 10_000  # how many waiting tasks are read for their reasons
LIVING = (WorkerState.ALIVE, WorkerState.DRAINING)

_migrated = threading.Event()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """A worker that was not declared dead and has not said goodbye; times are in seconds.

    `heartbeat_age` is worked out from the lease and from this process's CAYLEX_LEASE_SECONDS.
    """

    id: uuid.UUID
    host: str
    machine: str
    pid: int
    pid_started: str
    version: str
    state: WorkerState
    lease_left: float
    heartbeat_age: float
    held: int
    capacity: int

    @property
    def late(self) -> bool:
        """True when its lease has run out and nobody has buried it yet."""
        return self.lease_left <= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStats:
    """The live tasks, the workers and the doorbell, at one moment of the database's clock.

    `due`, `waiting`, `suspended` and `quarantined` share the PENDING tasks among them: `suspended`
    are those of projects or tenants that are paused or disabled; `orphaned` are those of the
    `running` that no worker within its lease holds; `stopping` were asked to stop.
    """

    at: datetime.datetime
    due: int
    waiting: int
    suspended: int
    quarantined: int
    running: int
    orphaned: int
    stopping: int
    oldest_due_seconds: float
    workers: tuple[WorkerView, ...]
    wakeup_messages: int

    @property
    def alive(self) -> tuple[WorkerView, ...]:
        """The workers that claim tasks: alive, and within their lease."""
        return tuple(w for w in self.workers if w.state == WorkerState.ALIVE and not w.late)


def collect_stats() -> ServiceStats:
    """Return how things stand, in a dozen short queries.

    Due, waiting and suspended tasks are counted in `task_lane` alone, project by project, so that
    those of one that rests do not stand in the way. It lacks `crashes`: those in quarantine are
    counted along, and taken off again by the counts of their own small index.
    """
    now = database_now()
    going = list(_with_tasks(active_projects()).values_list("pk", flat=True))
    suspended = list(_with_tasks(suspended_projects()).values_list("pk", flat=True))
    due, later = Q(next_attempt_at__lte=now), Q(next_attempt_at__gt=now)
    running, orphaned = _running(now)
    return ServiceStats(
        at=now,
        due=_pending(due, project__in=going),
        waiting=_pending(later, project__in=going),
        suspended=_pending(project__in=suspended),
        quarantined=_count(quarantined_tasks()),
        running=running,
        orphaned=orphaned,
        stopping=_count(stopping_tasks()),
        oldest_due_seconds=_oldest_due(now),
        workers=_living_workers(now),
        wakeup_messages=_count(OrmQ.objects.all()),
    )


def pending_tasks() -> QuerySet[AgentTask]:
    """Return the tasks that no worker holds and that are not over; index `task_claim`."""
    return AgentTask.objects.filter(status=Status.PENDING)


def quarantined_tasks() -> QuerySet[AgentTask]:
    """Return the tasks kept apart because workers died of them; index `task_quarantine`."""
    return pending_tasks().filter(crashes__gte=QUARANTINED_AT)


def stopping_tasks() -> QuerySet[AgentTask]:
    """Return the tasks that were asked to stop and are not over; index `task_cancelling`."""
    return AgentTask.objects.filter(cancel_requested_at__isnull=False, completed_at__isnull=True)


def orphaned_tasks(now: datetime.datetime) -> QuerySet[AgentTask]:
    """Return the RUNNING tasks that no worker within its lease holds; index `task_held`."""
    living = Worker.objects.filter(state__in=LIVING, lease_until__gt=now)
    return AgentTask.objects.filter(status=Status.RUNNING).exclude(worker__in=living)


def oldest_due_tasks(now: datetime.datetime) -> QuerySet[AgentTask]:
    """Return each tenant's longest due task, longest first; one look into `task_claim` each.

    What is paused or disabled waits for nobody. Of a tenant with tasks that rest it is the longest
    due of each lane that does not: one look into `task_lane` each.
    """
    due = pending_tasks().filter(next_attempt_at__lte=now, crashes__lt=QUARANTINED_AT)
    partly = list(_with_tasks(suspended_projects()).values_list("tenant", flat=True).distinct())
    tenants = Tenant.objects.filter(paused=False, disabled_at=None).exclude(pk__in=partly)
    projects = active_projects().filter(tenant__in=partly)
    lanes = [
        _first(projects, due.filter(project=OuterRef("pk"), priority=priority))
        for priority in PRIORITIES
    ]
    firsts = _first(tenants, due.filter(tenant=OuterRef("pk"))).union(*lanes)
    return AgentTask.objects.filter(pk__in=firsts).order_by("next_attempt_at")


def waiting_reasons(now: datetime.datetime) -> list[tuple[str, int, int]]:
    """Return why tasks wait for their next attempt: reason, tasks, and the most attempts made.

    The most frequent first; "" stands for tasks that no fault made wait. Reads up to
    `REASONS_OF` tasks.
    """
    waiting = pending_tasks().filter(next_attempt_at__gt=now).order_by()
    rows = list(waiting.values_list("waiting_reason", "attempt")[:REASONS_OF])
    tasks = Counter(reason for reason, _ in rows)
    attempts: dict[str, int] = {}
    for reason, attempt in rows:
        attempts[reason] = max(attempt, attempts.get(reason, 0))
    return [(reason, count, attempts[reason]) for reason, count in tasks.most_common()]


def in_doubt(since: datetime.datetime) -> QuerySet[ToolCall]:
    """Return the tool calls whose outcome was lost since then; no index helps but the date's."""
    return ToolCall.objects.filter(state=CallState.UNKNOWN_OUTCOME, completed_at__gte=since)


def died_since(since: datetime.datetime) -> QuerySet[Worker]:
    """Return the workers that were declared dead and whose last lease ended after `since`."""
    return Worker.objects.filter(state=WorkerState.DEAD, lease_until__gte=since)


def all_tenants_are_paused() -> bool:
    """Tell whether there are tenants and none of them may start a task."""
    open_ones = Tenant.objects.filter(paused=False, disabled_at=None)
    return Tenant.objects.filter(paused=True).exists() and not open_ones.exists()


def unopenable_credentials() -> int:
    """Return how many sealed credentials open with none of our keys; opens every one."""
    rows = Credential.objects.only("id", "sealed").iterator(chunk_size=1000)
    return sum(value_of(row) is None for row in rows)


def unapplied_migrations() -> list[str]:
    """Return the migrations that the database lacks, as `app.name`."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def is_ready() -> bool:
    """Tell whether a task that is submitted now would be run.

    The database answers and takes writes, its migrations are applied (asked until it was so once),
    and a worker that claims tasks is within its lease. Never raises for a database that is away.
    """
    try:
        if not _migrated.is_set():
            if unapplied_migrations():
                return False
            _migrated.set()
        alive = Worker.objects.filter(state=WorkerState.ALIVE, lease_until__gt=Now())
        return _takes_writes() and alive.exists()
    except Error:
        return False


def _takes_writes() -> bool:
    """Tell whether a transaction may write; raises what the database answers where it may not."""
    if connection.vendor != "postgresql":
        with transaction.atomic():  # takes the lock for writing, and writes nothing
            return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_read_only') = 'off'")
        return bool(cursor.fetchone()[0])


def _with_tasks(projects: QuerySet[Project]) -> QuerySet[Project]:
    """Return those of the projects that have PENDING tasks: a look for each, never a join."""
    some = pending_tasks().filter(project=OuterRef("pk")).values("pk")[:1]
    found: QuerySet[Project] = projects.annotate(some=Subquery(some)).filter(some__isnull=False)
    return found


def _first(scopes: QuerySet[Any], due: QuerySet[AgentTask]) -> QuerySet[Any]:
    """Return the longest due task of each scope that has one."""
    first = Subquery(due.order_by("next_attempt_at", "id").values("pk")[:1])
    found: QuerySet[Any] = scopes.annotate(first=first).filter(first__isnull=False)
    return found.values("first")


def _pending(*when: Q, project__in: list[uuid.UUID]) -> int:
    """Return how many PENDING tasks of these projects there are that are not in quarantine."""
    suspects = _count(quarantined_tasks().filter(*when, project__in=project__in))
    return max(0, _count(pending_tasks().filter(*when, project__in=project__in)) - suspects)


def _count(rows: QuerySet[AgentTask] | QuerySet[OrmQ]) -> int:
    return rows.order_by()[:COUNT_TO].count()


def _oldest_due(now: datetime.datetime) -> float:
    oldest = oldest_due_tasks(now).aggregate(at=Min("next_attempt_at"))["at"]
    return max(0.0, (now - oldest).total_seconds()) if oldest else 0.0


def _running(now: datetime.datetime) -> tuple[int, int]:
    living = Q(worker__state__in=LIVING, worker__lease_until__gt=now)
    counts = AgentTask.objects.filter(status=Status.RUNNING).aggregate(
        all=Count("worker"), held=Count("worker", filter=living)
    )
    return counts["all"], counts["all"] - counts["held"]


def _living_workers(now: datetime.datetime) -> tuple[WorkerView, ...]:
    lease = settings.ENVIRONMENT.caylex_lease_seconds
    found = []
    for worker in Worker.objects.filter(state__in=LIVING).order_by("host", "pid"):
        left = (worker.lease_until - now).total_seconds()
        found.append(
            WorkerView(
                id=worker.id,
                host=worker.host,
                machine=worker.machine,
                pid=worker.pid,
                pid_started=worker.pid_started,
                version=worker.version,
                state=WorkerState(worker.state),
                lease_left=left,
                heartbeat_age=max(0.0, lease - left),
                held=worker.held,
                capacity=worker.capacity,
            )
        )
    return tuple(found)
