"""A list of one tenant's million tasks, page by page and by each filter, and a claim among them.

The rows are made by the database itself. What is timed is the query function, without HTTP: the
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
from bench.stage import Stage

TASKS = 1_000_000
PAGE = 20
DEEP = 1_000  # pages

_TASKS = """
INSERT INTO tasks_app_agenttask
SELECT made.*
FROM tasks_app_agenttask AS template, generate_series(1, %(count)s - 1) AS n,
    LATERAL (SELECT CASE WHEN n %% 100 = 1 THEN 'PENDING' WHEN n %% 100 < 5 THEN 'FAILED'
        WHEN n %% 100 < 8 THEN 'INCOMPLETE' ELSE 'COMPLETED' END AS status) AS its,
    LATERAL jsonb_populate_record(template, jsonb_build_object(
        'id', gen_random_uuid(), 'session_id', gen_random_uuid(),
        'end_user_id', (%(users)s::uuid[])[1 + n %% 1000],
        'skill_slug', CASE WHEN n %% 2 = 0 THEN 'skill-' || n %% 20 ELSE '' END,
        'metadata', jsonb_build_object(
            'order', n::text, 'env', CASE WHEN n %% 10 = 0 THEN 'test' ELSE 'live' END),
        'created_at', now() - n * interval '1 second',
        'status', its.status,
        'completed_at', CASE WHEN its.status <> 'PENDING' THEN now() END,
        'stop_reason', CASE its.status WHEN 'COMPLETED' THEN 'final_report'
            WHEN 'FAILED' THEN 'error' WHEN 'INCOMPLETE' THEN 'max_steps' ELSE '' END,
        'report', CASE WHEN its.status IN ('COMPLETED', 'INCOMPLETE')
            THEN repeat('A report. ', 50) END,
        'error', CASE its.status WHEN 'FAILED' THEN 'No credit.' END
    )) AS made
WHERE template.id = %(template)s
"""
_METADATA = """
INSERT INTO tasks_app_taskmetadata (task_id, tenant_id, key, value, created_at)
SELECT id, tenant_id, pair.key, pair.value, created_at
FROM tasks_app_agenttask, LATERAL jsonb_each_text(metadata) AS pair WHERE tenant_id = %(tenant)s
"""


def measure(stage: Stage, *, quick: bool) -> Section:
    """Return the p95 of each question, over some repetitions."""
    from tasks_app.listing import list_tasks

    tenant, project = _fill()
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
    from tasks_app.worker.claim import SLICE, claim_due

    later = timezone.now() + datetime.timedelta(days=2)
    worker = Worker.objects.create(
        host="bench", machine="bench", pid=0, capacity=SLICE, started_at=later, lease_until=later
    )
    AgentTask.objects.filter(status=Status.PENDING).update(next_attempt_at=timezone.now())
    took = []
    for _ in range(rounds):
        with transaction.atomic():
            began = time.perf_counter()
            claims, _turn = claim_due(worker_id=worker.pk, limit=SLICE, turn=worker.pk)
            took.append((time.perf_counter() - began) * 1000)
            assert len(claims) == SLICE
            transaction.set_rollback(True)
    p95 = percentile(took, 0.95)
    name = f"claim of {SLICE} among {TASKS // 100:,} that wait"
    section.rows.append(at_most(f"{name}, p95", p95, must=50, aim=15, unit=" ms"))
    section.lines.append(f"- {name}: p50 {percentile(took, 0.5):.1f} ms, p95 {p95:.1f} ms")


def _fill() -> tuple[uuid.UUID, uuid.UUID]:
    from django.db import connection
    from django.utils import timezone

    from caylex_project.accounts.models import EndUser, Navigator, Project, Tenant
    from tasks_app.models import AgentTask

    tenant = Tenant.objects.create(name="a million")
    project = Project.objects.create(tenant=tenant, name="lists")
    navigator = Navigator.objects.create(project=project, name="bot")
    users = EndUser.objects.bulk_create(
        EndUser(project=project, email=f"user-{number}@example.com") for number in range(1000)
    )
    template = AgentTask.objects.create(
        tenant=tenant,
        project=project,
        navigator=navigator,
        end_user=users[0],
        prompt="Count the tickets. " * 10,
        model="bench/model",
        created_at=timezone.now(),
        next_attempt_at=timezone.now() + datetime.timedelta(days=1),
    )
    values = {
        "tenant": tenant.pk,
        "template": template.pk,
        "users": [user.pk for user in users],
        "count": TASKS,
    }
    with connection.cursor() as cursor:
        cursor.execute(_TASKS, values)
        cursor.execute(_METADATA, values)
        cursor.execute("VACUUM ANALYZE tasks_app_agenttask, tasks_app_taskmetadata")
    return tenant.pk, project.pk


def _questions(tenant: uuid.UUID, project: uuid.UUID) -> dict[str, Any]:
    from tasks_app.listing import Place, TaskFilter
    from tasks_app.models import AgentTask
    from tasks_app.states import Status

    def place(number: int) -> Place:
        newest = AgentTask.objects.filter(tenant=tenant).order_by("-created_at", "-id")
        task = newest[number]
        return Place(created_at=task.created_at, task_id=task.id)

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
