"""The counters above the list of tasks, and the day's sparkline."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass
from typing import Any

from django.core.cache import cache
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import TruncHour

from tasks_app.admin.tasks import formatting
from tasks_app.admin.tasks.filters import pending, suspended
from tasks_app.states import Status

COUNT_TO = 1000  # no count goes on beyond this
HOURS = 24
HEIGHT = 20
REMEMBERED = 600  # seconds; what ended in an hour that is over changes by a retry or a deletion


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """A figure above the list, and the query of the list that it counts."""

    name: str
    value: str
    query: str
    alarming: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """An hour of the sparkline: heights of 20, from the bottom."""

    x: int
    height: float
    failed: float
    title: str

    @property
    def top(self) -> float:
        """Where its bar begins, from above."""
        return HEIGHT - self.height

    @property
    def failed_top(self) -> float:
        """Where the part of the failed ones begins."""
        return HEIGHT - self.failed


def counters_of(tasks: QuerySet[Any], *, now: datetime.datetime) -> tuple[list[Counter], list[Bar]]:
    """Return the counters and the bars of the tasks that a user may see, in six queries.

    A seventh counts the hours that are over, and is asked every ten minutes.
    """
    due = pending(tasks, due=True, now=now).order_by()
    oldest = due.order_by("next_attempt_at").values_list("next_attempt_at", flat=True).first()
    hours = _hours(tasks, now)
    failed = sum(each["failed"] for each in hours.values())
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    spent = sum(each["cost"] or 0 for hour, each in hours.items() if hour >= midnight)
    waited = (now - oldest).total_seconds() if oldest else 0
    running = tasks.filter(status=Status.RUNNING).order_by()
    return [
        Counter(name="Queued", value=_count(due), query="status=queued"),
        Counter(name="Running", value=_count(running), query="status=RUNNING"),
        Counter(
            name="Waiting to retry",
            value=_count(pending(tasks, due=False, now=now).order_by()),
            query="status=waiting",
        ),
        Counter(name="Paused", value=_count(suspended(tasks).order_by()), query="status=suspended"),
        Counter(
            name="Failed in 24 h",
            value=f"{failed:,}",
            query="status=FAILED&ended=24h",
            alarming=failed > 0,
        ),
        Counter(
            name="Oldest queued",
            value=formatting.duration(int(waited)) if oldest else "–",
            query="status=queued",
            alarming=waited > 60,
        ),
        Counter(name="Spent today", value=formatting.money(spent or None), query="ended=24h"),
    ], _bars(hours, now)


def _count(tasks: QuerySet[Any]) -> str:
    count = tasks[: COUNT_TO + 1].count()
    return f"{COUNT_TO:,}+" if count > COUNT_TO else f"{count:,}"


def _hours(tasks: QuerySet[Any], now: datetime.datetime) -> dict[datetime.datetime, Any]:
    """Return what ended within a day, by the hour; whole hours that are over are remembered."""
    this = now.replace(minute=0, second=0, microsecond=0)
    first = this - datetime.timedelta(hours=HOURS - 1)
    over = Q(completed_at__gte=first, completed_at__lt=this)
    day = datetime.timedelta(hours=HOURS)
    still = Q(completed_at__gte=this) | Q(completed_at__gt=now - day, completed_at__lt=first)
    of_whom = hashlib.sha256(str(tasks.query).encode()).hexdigest()  # whoever sees the same tasks
    known = cache.get_or_set(
        f"ended:{of_whom}:{this.timestamp():.0f}", lambda: _by_hour(tasks.filter(over)), REMEMBERED
    )
    return {**(known or {}), **_by_hour(tasks.filter(still))}


def _by_hour(ended: QuerySet[Any]) -> dict[datetime.datetime, Any]:
    rows = (
        ended.order_by()
        .annotate(hour=TruncHour("completed_at", tzinfo=datetime.UTC))
        .values("hour")
        .annotate(
            ended=Count("pk"),
            failed=Count("pk", filter=Q(status=Status.FAILED)),
            cost=Sum("cost_usd"),
        )
    )
    return {row["hour"]: row for row in rows}


def _bars(hours: dict[datetime.datetime, Any], now: datetime.datetime) -> list[Bar]:
    this = now.replace(minute=0, second=0, microsecond=0)
    times = [this - datetime.timedelta(hours=back) for back in reversed(range(HOURS))]
    most = max((each["ended"] for each in hours.values()), default=0) or 1
    bars = []
    for x, hour in enumerate(times):
        row = hours.get(hour, {"ended": 0, "failed": 0})
        bars.append(
            Bar(
                x=x * 5,
                height=round(row["ended"] / most * HEIGHT, 2),
                failed=round(row["failed"] / most * HEIGHT, 2),
                title=f"{hour:%H}:00 UTC: {row['ended']} ended, {row['failed']} failed",
            )
        )
    return bars
