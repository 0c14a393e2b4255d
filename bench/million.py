"""A million tasks of one tenant, made by the database itself."""

from __future__ import annotations

import datetime
import functools
import uuid

TASKS = 1_000_000

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
        'completed_at', CASE WHEN its.status <> 'PENDING'
            THEN now() - n * interval '1 second' + interval '20 seconds' END,
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


@functools.cache
def million() -> tuple[uuid.UUID, uuid.UUID]:
    """Write them, once; return the tenant and the project. One in a hundred waits."""
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
