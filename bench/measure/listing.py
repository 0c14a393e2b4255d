"""A list of one tenant's million tasks, page by page and by each filter, and a claim among them.

What is timed is the query function, without HTTP: the
ids, the tasks of a page and the count. The filters are each asked for on the first page. One task
in a hundred waits; of these a worker claims sixteen at a time, and gives them back.
"""

from __future__ import annotations

import datetime
import time
import uuid
from dataclasses import replace
from typing import Any

from bench.figures import Section, at_most, percentile
from bench.harness import Stage
from bench.million import TASKS, million

PAGE = 20
DEEP = 1_000  # pages


def measure(stage: Stage, *, quick: bool) -> Section:
    """Return the p95 of each question, over some repetitions."""
    from tasks_app.queries.task_list import list_tasks

    tenant, project = million()
    section = Section(title=f"List: {TASKS:,} tasks of one tenant, pages of {PAGE}")
    for name, question in _questions(tenant, project).items():
        took = []
        for _ in range(20 if quick else 100):
            began = time.perf_counter()
            page = list_tasks(tenant_id=tenant, size=PAGE, **question)
            took.append((time.perf_counter() - began) * 1000)
            assert page.tasks, name
        p95 = percentile(took, 0.95)
        section.rows.append(at_most(f"list, {name}, p95", p95, must=50, aim=15, unit=" ms"))
        section.lines.append(f"- {name}: p50 {percentile(took, 0.5):.1f} ms, p95 {p95:.1f} ms")
    _claims(section, rounds=20 if quick else 100)
    return section


def _claims(section: Section, *, rounds: int) -> None:
    """Time the claim of a slice by a worker of the table's own, and undo each."""
    from django.db import transaction
    from django.utils import timezone

    from tasks_app.models import AgentTask, Worker
    from tasks_app.states import Status
    from tasks_app.worker.claiming.claim import CLAIM_BATCH, claim_due

    later = timezone.now() + datetime.timedelta(days=2)
    worker = Worker.objects.create(
        host="bench",
        machine="bench",
        pid=0,
        capacity=CLAIM_BATCH,
        started_at=later,
        lease_until=later,
    )
    AgentTask.objects.filter(status=Status.PENDING).update(next_attempt_at=timezone.now())
    took = []
    for _ in range(rounds):
        with transaction.atomic():
            began = time.perf_counter()
            claims, _turn = claim_due(
                worker_id=worker.pk, limit=CLAIM_BATCH, after_tenant=worker.pk
            )
            took.append((time.perf_counter() - began) * 1000)
            assert len(claims) == CLAIM_BATCH
            transaction.set_rollback(True)
    p95 = percentile(took, 0.95)
    name = f"claim of {CLAIM_BATCH} among {TASKS // 100:,} that wait"
    section.rows.append(at_most(f"{name}, p95", p95, must=50, aim=15, unit=" ms"))
    section.lines.append(f"- {name}: p50 {percentile(took, 0.5):.1f} ms, p95 {p95:.1f} ms")


def _questions(tenant: uuid.UUID, project: uuid.UUID) -> dict[str, Any]:
    from tasks_app.models import AgentTask
    from tasks_app.queries.task_list import TaskCursor, TaskFilter
    from tasks_app.states import Status

    def place(number: int) -> TaskCursor:
        newest = AgentTask.objects.filter(tenant=tenant).order_by("-created_at", "-id")
        task = newest[number]
        return TaskCursor(created_at=task.created_at, task_id=task.id)

    everything = TaskFilter()
    deep, last = place(DEEP * PAGE - PAGE - 1), place(TASKS - PAGE - 1)
    filters = {
        "by status (1 in 100)": {"statuses": [Status.PENDING]},
        "by two statuses": {"statuses": [Status.PENDING, Status.FAILED]},
        "by user": {"user_email": "user-7@example.com"},
        "by project": {"project_id": project},
        "by skill": {"skill": "skill-4"},
        "created before": {"created_before": last.created_at},
        "created after": {"created_after": deep.created_at},
        "by metadata (one task)": {"metadata": {"order": "500000"}},
        "by metadata (9 in 10)": {"metadata": {"env": "live"}},
        "by two pairs": {"metadata": {"env": "live", "order": "500001"}},
        "by metadata and status": {"metadata": {"env": "test"}, "statuses": [Status.COMPLETED]},
        "by user and status": {
            "user_email": "user-7@example.com",
            "statuses": [Status.COMPLETED, Status.INCOMPLETE],
        },
    }
    return {
        "page 1": {"wanted": everything, "after": None},
        f"page {DEEP:,}": {"wanted": everything, "after": deep},
        "the last page": {"wanted": everything, "after": last},
        **{
            name: {"wanted": replace(everything, **values), "after": None}
            for name, values in filters.items()
        },
    }
