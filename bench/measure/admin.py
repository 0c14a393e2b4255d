"""The admin's list and a task's page, with a million tasks and a task of 500 steps.

What is timed is the whole answer of Django to a request of its test client, without a server; warm
as a web process is when it begins to listen.
"""

from __future__ import annotations

import datetime
import time
import uuid
from typing import Any

from bench.figures import Section, at_most, percentile
from bench.harness import Stage
from bench.million import TASKS, million

STEPS = 500
LIST = "/admin/tasks_app/agenttask/"
MAX_QUERIES = 19  # under twenty
USAGE = {"input_tokens": 1000, "output_tokens": 100}


def measure(stage: Stage, *, quick: bool) -> Section:
    """Return the p95 and the number of queries of each page, over some repetitions."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from caylex_project.web.warm_up import warm_up

    warm_up()
    million()
    task, browser = _long_task(), _browser()
    section = Section(title=f"Admin: {TASKS:,} tasks, and one of {STEPS} steps")
    for name, path in _pages(task).items():
        took = []
        for _ in range(10 if quick else 40):
            began = time.perf_counter()
            answer = browser.get(path, secure=True)
            took.append((time.perf_counter() - began) * 1000)
            assert answer.status_code == 200, (name, answer.status_code)
        with CaptureQueriesContext(connection) as queries:
            browser.get(path, secure=True)
        p95 = percentile(took, 0.95)
        section.rows.append(at_most(f"admin, {name}, p95", p95, must=150, aim=75, unit=" ms"))
        section.rows.append(
            at_most(f"admin, {name}, queries", len(queries), must=MAX_QUERIES, aim=MAX_QUERIES)
        )
        section.lines.append(
            f"- {name}: p50 {percentile(took, 0.5):.0f} ms, p95 {p95:.0f} ms,"
            f" {len(queries)} queries"
        )
    return section


def _pages(task: Any) -> dict[str, str]:
    return {
        "list": LIST,
        "list of the failed": f"{LIST}?status__exact=FAILED",
        "list, by id prefix": f"{LIST}?q={str(task.pk)[:8]}",
        "list, by e-mail": f"{LIST}?q=user-7%40example.com",
        "list, by metadata": f"{LIST}?q=order%3A500000",
        "page of the long task": f"{LIST}{task.pk}/change/",
        "its live part": f"{LIST}{task.pk}/live/",
    }


def _browser() -> Any:
    from django.contrib.auth import get_user_model
    from django.test import Client

    browser = Client(headers={"host": "127.0.0.1"})
    browser.force_login(
        get_user_model()._default_manager.create_superuser("bench"),
        backend="django.contrib.auth.backends.ModelBackend",
    )
    browser.handler.load_middleware()  # a web process has, too, when it begins to listen
    return browser


def _long_task() -> Any:
    """Write a task that runs, with its steps, a call in each."""
    from django.utils import timezone

    from agent_runtime.messages import CallState
    from tasks_app.models import AgentTask, Step, ToolCall

    now = timezone.now()
    task = AgentTask.objects.filter(status="COMPLETED", steps=None).order_by("-created_at")[0]
    steps = [
        Step(
            id=uuid.uuid4(),
            task=task,
            run_number=1,
            index=number,
            sequence=3 * number,
            request={"schema": 1, "notes": []},
            response={"role": "assistant", "content": "Looking. " * 20},
            finish_reason="tool_calls",
            model=task.model,
            epoch=1,
            usage=USAGE,
            started_at=now + datetime.timedelta(seconds=number),
            completed_at=now + datetime.timedelta(seconds=number + 0.9),
        )
        for number in range(1, STEPS + 1)
    ]
    Step.objects.bulk_create(steps)
    ToolCall.objects.bulk_create(
        ToolCall(
            id=uuid.uuid4(),
            step=step,
            index=0,
            call_id="1",
            name="desk__search",
            server="desk",
            tool="search",
            arguments='{"q": 1}',
            repeatable=True,
            state=CallState.SUCCEEDED,
            result="A ticket. " * 100,
            started_sequence=step.sequence + 1,
            completed_sequence=step.sequence + 2,
            started_at=step.completed_at,
            completed_at=step.completed_at,
        )
        for step in steps
    )
    AgentTask.objects.filter(pk=task.pk).update(steps_completed=STEPS, tool_calls_made=STEPS)
    return task
