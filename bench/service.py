"""Our service under measurement: real `manage.py qcluster` processes, and tasks as rows."""

from __future__ import annotations

import contextlib
import datetime
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection, connections

from bench.harness import MODEL, Stage
from bench.machine import children_of, cpu_seconds, resident_bytes
from bench.processes import OURS, running, wait_until

QUARANTINE = 1  # the process that `qcluster` keeps besides, for tasks that kill workers
LIMITS = {
    "schema": 1,
    "max_steps": 100_000,
    "max_tool_calls": None,
    "timeout_seconds": 14_400.0,
}


@dataclass(frozen=True)
class Workers:
    """A running `qcluster`: its parent and its worker processes."""

    parent: int

    @property
    def pids(self) -> list[int]:
        """The worker processes."""
        return children_of(self.parent)

    def cpu(self) -> float:
        """Return the CPU seconds of all worker processes so far."""
        return sum(map(cpu_seconds, self.pids))

    def rss(self) -> int:
        """Return the resident bytes of all worker processes."""
        return sum(map(resident_bytes, self.pids))


@contextlib.contextmanager
def workers(stage: Stage, *, count: int, **environment: str) -> Iterator[Workers]:
    """Run `qcluster` with so many worker processes; yields when all of them are registered."""
    from tasks_app.models import Worker

    before = set(Worker.objects.values_list("pk", flat=True))
    environment = {"CAYLEX_WORKERS": str(count), "CAYLEX_DRAIN_SECONDS": "1", **environment}
    command = (OURS, "manage.py", "qcluster")
    with running(*command, environment=environment, log=stage.log) as process:

        def all_registered() -> bool:
            alive = Worker.objects.exclude(pk__in=before).filter(state="alive").count()
            return alive == count + QUARANTINE == len(children_of(process.pid))

        wait_until(all_registered, what="the workers")
        yield Workers(process.pid)


def script(**values: Any) -> str:
    """Return a prompt with a script for the scripted server; see there."""
    return "[[" + " ".join(f"{name}={value}" for name, value in values.items()) + "]]"


def submit_many(prompts: list[str], *, project: str = "plain") -> list[uuid.UUID]:
    """Write pending tasks in one transaction, with one ring of the doorbell."""
    from django.db import transaction
    from django.utils import timezone

    from caylex_project.accounts.end_users import end_user
    from caylex_project.accounts.models import Navigator
    from tasks_app.models import AgentTask
    from tasks_app.operations.submit import Submission, submit

    navigator = Navigator.objects.select_related("project").get(project__name=project)
    now = timezone.now()
    user = end_user(project=navigator.project, email="jane@example.com")
    tasks = [
        AgentTask(
            tenant_id=navigator.project.tenant_id,
            project=navigator.project,
            navigator=navigator,
            end_user=user,
            prompt=prompt,
            model=MODEL,
            limits=LIMITS,
            next_attempt_at=now - datetime.timedelta(seconds=1),
            created_at=now,
        )
        for prompt in prompts[:-1]
    ]
    with transaction.atomic():
        AgentTask.objects.bulk_create(tasks)
        last = submit(
            navigator=navigator,
            submission=Submission(user_email=user.email, prompt=prompts[-1]),
            now=now,
        ).task_id
        AgentTask.objects.filter(pk=last).update(limits=LIMITS)
    return [*(task.id for task in tasks), last]


def wait_for(tasks: list[uuid.UUID], *, patience: float = 120.0) -> None:
    """Wait until all have ended. Raises RuntimeError when one did not complete."""

    def all_ended() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM tasks_app_agenttask WHERE status IN ('PENDING', 'RUNNING') LIMIT 1"
            )  # counting them would take a twentieth of the processors from what is measured
            return cursor.fetchone() is None

    wait_until(all_ended, what=f"{len(tasks)} tasks", patience=patience)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM tasks_app_agenttask WHERE id = ANY(%s) AND status = 'COMPLETED'",
            [tasks],
        )
        completed = int(cursor.fetchone()[0])
    if completed != len(tasks):
        raise RuntimeError(f"only {completed} of {len(tasks)} tasks were completed")


def run_tasks(
    running_workers: Workers, prompts: list[str], *, project: str = "plain"
) -> dict[str, float]:
    """Run tasks to their end; return wall seconds, CPU seconds and resident bytes.

    `seconds` counts the writing of the tasks' own rows too, `since_due` begins when they are
    committed, which is when a worker can see the first of them.
    """
    cpu = running_workers.cpu()
    began = time.perf_counter()
    tasks = submit_many(prompts, project=project)
    due = time.perf_counter()
    wait_for(tasks)
    ended = time.perf_counter()
    return {
        "seconds": ended - began,
        "since_due": ended - due,
        "cpu": running_workers.cpu() - cpu,
        "rss": running_workers.rss(),
    }


def close() -> None:
    """Give the connections back."""
    connections.close_all()
