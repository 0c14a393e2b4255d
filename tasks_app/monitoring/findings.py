"""What the figures mean: findings in plain words, each with what to do about it."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from django.conf import settings

from tasks_app.monitoring import stats
from tasks_app.monitoring.stats import COUNT_TO, ServiceStats, WorkerView
from tasks_app.worker.process.identity import is_dead_process

OVERDUE_WARNING = 30.0  # seconds that a task is due without being claimed
OVERDUE_CRITICAL = 300.0
STOP_SECONDS = 10.0  # the owner has two, the sweep comes by every two
STOP_CRITICAL = 60.0
SWEEP_SECONDS = 10.0  # how long a worker may be late before it is odd that nobody buried it
ATTEMPTS_WARNING = 2  # faults of the world in a row that are no passing trouble any more
MANY_WAKEUPS = 1000
REASONS_SHOWN = 10
EXAMPLES = 5
AFTER_RESTORE = (
    "Every tenant is paused, as `manage.py after_restore` leaves them. Cancel the tasks that must "
    "not be repeated, start `manage.py qcluster`, then resume the tenants in the admin."
)
DAY = datetime.timedelta(days=1)
HOUR = datetime.timedelta(hours=1)


class Level(enum.IntEnum):
    """How bad it is; the worst of all findings is the exit code, a note's being 0."""

    NOTE = 0  # worth knowing
    WARNING = 1  # look at it in working hours
    CRITICAL = 2  # tasks stand still, or will


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be. `tasks` are the ids of a few that it is about."""

    level: Level
    code: str
    what: str
    advice: str
    tasks: tuple[str, ...] = ()


def find_problems(figures: ServiceStats) -> Iterator[Finding]:
    """Yield what is wrong with the tasks, the workers and the credentials."""
    yield from _workers(figures)
    yield from _overdue(figures)
    yield from _orphaned(figures)
    yield from _stopping(figures)
    yield from _quarantined(figures)
    yield from _waiting(figures)
    yield from _wakeups(figures)
    yield from _in_doubt(figures)
    yield from _credentials()


def _workers(figures: ServiceStats) -> Iterator[Finding]:
    if not figures.alive:
        yield Finding(
            level=Level.CRITICAL,
            code="no_worker",
            what="No worker claims tasks: " + _instead(figures.workers),
            advice=AFTER_RESTORE
            if stats.all_tenants_are_paused()
            else "Start `manage.py qcluster`, or look in its log for why it ended. After a restore "
            "of the database run `manage.py after_restore` first.",
        )
    late = [w for w in figures.workers if w.lease_left < -SWEEP_SECONDS]
    if late:
        yield Finding(
            level=Level.CRITICAL,
            code="expired_workers_not_declared_dead",
            what=f"{len(late)} workers lost their lease and were not buried: {_names(late)}.",
            advice="A living worker buries them within two seconds. Start one, or look in the "
            "workers' logs for why the sweep fails.",
        )
    versions = sorted({worker.version for worker in figures.workers})
    if len(versions) > 1:
        yield Finding(
            level=Level.WARNING,
            code="versions_differ",
            what=f"The workers run different versions: {', '.join(versions)}.",
            advice="During a deploy this passes. Otherwise a machine was left out: update it.",
        )
    died = stats.died_since(figures.at - HOUR).count()
    if died:
        yield Finding(
            level=Level.WARNING,
            code="workers_died",
            what=f"{died} workers died in the last hour; their tasks were taken over.",
            advice="Look for the reason in the workers' and the system's log: killed for want of "
            "memory, a machine that went away, a task in quarantine.",
        )


def _instead(workers: Iterable[WorkerView]) -> str:
    there = list(workers)
    corpses = [w for w in there if _has_ended(w)]
    if corpses:
        return f"the processes of {_names(corpses)} have ended."
    return f"{_names(there)} drain or are late." if there else "none is there."


def _has_ended(worker: WorkerView) -> bool:
    return is_dead_process(machine=worker.machine, pid=worker.pid, pid_started=worker.pid_started)


def _names(workers: Iterable[WorkerView]) -> str:
    return ", ".join(f"{worker.host}:{worker.pid}" for worker in list(workers)[:EXAMPLES])


def _overdue(figures: ServiceStats) -> Iterator[Finding]:
    if figures.oldest_due_seconds < OVERDUE_WARNING:
        return
    alive = figures.alive
    if not alive:
        advice = "They start as soon as there is a worker."
    elif _are_full(alive):
        advice = "All places are taken: add workers, or raise CAYLEX_TASKS_PER_WORKER."
    else:
        advice = (
            "Workers have places and do not claim: look in their logs for a loop that lags, for "
            "database errors, and for tasks written by a newer version."
        )
    oldest = stats.oldest_due_tasks(figures.at)[:EXAMPLES]
    yield Finding(
        level=_by(figures.oldest_due_seconds, critical=OVERDUE_CRITICAL),
        code="tasks_overdue",
        what=f"{_many(figures.due)} are due and not claimed, the oldest for "
        f"{figures.oldest_due_seconds:.0f} s.",
        advice=advice,
        tasks=tuple(str(task_id) for task_id in oldest.values_list("pk", flat=True)),
    )


def _are_full(workers: Collection[WorkerView]) -> bool:
    """True when no places are left but those of the quarantine's worker, one on each machine."""
    free = sum(worker.held < worker.capacity for worker in workers)
    return free < len(workers) and free <= len({worker.machine for worker in workers})


def _orphaned(figures: ServiceStats) -> Iterator[Finding]:
    if figures.orphaned:
        orphaned = stats.orphaned_tasks(figures.at).values_list("pk", flat=True)[:EXAMPLES]
        yield Finding(
            level=Level.WARNING if figures.alive else Level.CRITICAL,
            code="tasks_orphaned",
            what=f"{_many(figures.orphaned)} are RUNNING without a live worker.",
            advice="The next sweep of a living worker frees them, within two seconds. If this "
            "stays, look in the workers' logs for why the sweep fails.",
            tasks=tuple(str(task_id) for task_id in orphaned),
        )


def _stopping(figures: ServiceStats) -> Iterator[Finding]:
    limit = figures.at - datetime.timedelta(seconds=STOP_SECONDS)
    overdue = stats.stopping_tasks().filter(cancel_requested_at__lte=limit)
    rows = list(overdue.only("cancel_requested_at").order_by("cancel_requested_at")[:EXAMPLES])
    if rows and rows[0].cancel_requested_at:
        longest = (figures.at - rows[0].cancel_requested_at).total_seconds()
        yield Finding(
            level=_by(longest, critical=STOP_CRITICAL),
            code="cancels_overdue",
            what=f"{_many(overdue[:COUNT_TO].count())} were asked to stop and are not over, one "
            f"for {longest:.0f} s.",
            advice="The owner has two seconds, then a sweep ends the task. Start a worker, or "
            "look in the workers' logs for why the sweep fails.",
            tasks=tuple(str(task.pk) for task in rows),
        )
    elif figures.stopping:
        yield Finding(
            level=Level.NOTE,
            code="tasks_stopping",
            what=f"{_many(figures.stopping)} were asked to stop a moment ago.",
            advice="Nothing: they end within two seconds.",
        )


def _quarantined(figures: ServiceStats) -> Iterator[Finding]:
    if figures.quarantined:
        worst = stats.quarantined_tasks().order_by("-crashes", "-next_attempt_at")[:EXAMPLES]
        yield Finding(
            level=Level.WARNING,
            code="tasks_quarantined",
            what=f"{_many(figures.quarantined)} are kept apart, because workers died while they "
            "held them.",
            advice="They run in ever smaller company and end as FAILED if they are the cause. "
            "Look at what these tasks do, and in the log for how the workers died.",
            tasks=tuple(str(task_id) for task_id in worst.values_list("pk", flat=True)),
        )


def _waiting(figures: ServiceStats) -> Iterator[Finding]:
    if not figures.waiting:
        return
    for reason, count, attempts in stats.waiting_reasons(figures.at)[:REASONS_SHOWN]:
        if not reason:
            continue
        yield Finding(
            level=Level.WARNING if attempts >= ATTEMPTS_WARNING else Level.NOTE,
            code="tasks_waiting",
            what=f"{_many(count)} wait for their next attempt (up to {attempts} made): {reason}",
            advice="They are tried again by themselves, and end as FAILED after "
            f"{settings.ENVIRONMENT.caylex_max_attempts} attempts in a row. Remove the reason.",
        )


def _wakeups(figures: ServiceStats) -> Iterator[Finding]:
    if figures.wakeup_messages >= MANY_WAKEUPS and figures.alive:
        yield Finding(
            level=Level.WARNING,
            code="wakeups_not_handled",
            what=f"{figures.wakeup_messages} messages wait in the doorbell's queue.",
            advice="No task is late by that, since workers look twice a second anyway. Look in "
            "the workers' logs for errors of the queue, and restart one worker after the other.",
        )


def _in_doubt(figures: ServiceStats) -> Iterator[Finding]:
    calls = stats.in_doubt(figures.at - DAY).order_by("-completed_at")
    lost = calls[:COUNT_TO].count()
    if lost:
        tasks = calls.values_list("step__task", flat=True)[:EXAMPLES]
        yield Finding(
            level=Level.NOTE,
            code="outcomes_in_doubt",
            what=f"{lost} tool calls of the last 24 hours were sent and their answer was lost; "
            "they may or may not have happened.",
            advice="The agents were told, and to check before repeating. Where it matters look "
            "into the other system yourself.",
            tasks=tuple(dict.fromkeys(str(task_id) for task_id in tasks)),
        )


def _credentials() -> Iterator[Finding]:
    lost = stats.unopenable_credentials()
    if lost:
        yield Finding(
            level=Level.WARNING,
            code="credentials_do_not_open",
            what=f"{lost} credentials open with none of CAYLEX_CREDENTIAL_KEYS.",
            advice="Add the key that sealed them to the end of the list; `manage.py "
            "rotate_credentials` names them. If it is lost they must be entered again.",
        )


def _by(seconds: float, *, critical: float) -> Level:
    return Level.CRITICAL if seconds >= critical else Level.WARNING


def _many(count: int) -> str:
    at_least = "at least " if count >= COUNT_TO else ""
    return f"{at_least}{count} task{'' if count == 1 else 's'}"
