"""What stands on a task's page."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from agent_runtime.outcome import StopReason
from caylex_project.accounts.models import AuditEntry
from tasks_app.admin.tasks import formatting
from tasks_app.admin.tasks.curl import poll_command, submit_command
from tasks_app.admin.tasks.markdown import rendered
from tasks_app.admin.tasks.payloads import may_see_payloads, payloads_open
from tasks_app.admin.tasks.timeline import Timeline, timeline_of, tools_of
from tasks_app.failures import ADVICE, cause_of
from tasks_app.models import AgentTask, Step, Worker
from tasks_app.queries.status_line import StatusContext, describe_status, without_payload
from tasks_app.queries.tasks import detail_of
from tasks_app.states import Status, WorkerState

MAX_AHEAD = 1000  # the count goes no further
MAX_ENTRIES = 50
MAX_RERUNS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A figure with its name, and a line below it."""

    name: str
    value: str
    more: str = ""


def now_context(request: HttpRequest, task: AgentTask, *, now: datetime.datetime) -> dict[str, Any]:
    """Return what changes while a task lives: its sentence and its tiles."""
    detail = describe_status(detail_of(task), status_context(task, now=now))
    payloads = may_see_payloads(request)
    reruns = task.reruns.order_by("-created_at").values_list("pk", flat=True)
    return {
        "task": task,
        "reruns": list(reruns[:MAX_RERUNS]),
        "version": f"{task.sequence}-{task.status}",
        "ended": Status(task.status).terminal,
        "sentence": formatting.staff_status_text(detail if payloads else without_payload(detail)),
        "error": task.error if payloads else "",
        "remedy": _remedy(task),
        "last_step": _last_step(task) if task.error else None,
        "tiles": _tiles(task, now),
    }


def journal_context(
    request: HttpRequest, task: AgentTask, *, now: datetime.datetime
) -> dict[str, Any]:
    """Return what grows with a task: timeline, report, deliveries and audit."""
    payloads = payloads_open(request, task, now=now)
    return {
        "timeline": _timeline(request, task, payloads, now),
        "tools": tools_of(task),
        "payloads": payloads,
        "may_open": may_see_payloads(request) and not payloads,
        "report": _report(task) if payloads else "",
        "deliveries": list(task.deliveries.order_by("-created_at", "-id")[:MAX_ENTRIES]),
        "audit": list(
            AuditEntry.objects.filter(
                object_type=task._meta.label_lower, object_id=str(task.pk)
            ).order_by("-at", "-id")[:MAX_ENTRIES]
        ),
    }


def status_context(task: AgentTask, *, now: datetime.datetime) -> StatusContext:
    """Return what the task's standing depends on beyond its own row."""
    if task.worker is not None:
        left = (task.worker.lease_until - now).total_seconds()
        return StatusContext(
            now=now,
            since=_moved_at(task),
            worker_state=WorkerState(task.worker.state),
            heartbeat_age=int(settings.ENVIRONMENT.caylex_lease_seconds - left),
            lease_left=int(left),
            silent_after=2 * settings.ENVIRONMENT.caylex_heartbeat_seconds,
        )
    if Status(task.status).terminal:
        return StatusContext(now=now, since=now)
    before = AgentTask.objects.filter(
        tenant_id=task.tenant_id,
        status=Status.PENDING,
        next_attempt_at__lt=min(now, task.next_attempt_at),
    )
    living = Worker.objects.filter(state=WorkerState.ALIVE, lease_until__gt=now)
    return StatusContext(
        now=now,
        since=now,
        ahead=before[:MAX_AHEAD].count(),
        workers=living[:1].count(),
    )


def _remedy(task: AgentTask) -> str:
    cause = cause_of(
        stop_reason=StopReason(task.stop_reason) if task.stop_reason else None,
        error=task.error,
        needs_connection=bool(task.authentication_needed),
    )
    return ADVICE[cause] if cause else ""


def _last_step(task: AgentTask) -> Step | None:
    steps = Step.objects.filter(task=task).order_by("-run_number", "-index")
    return steps.only("run_number", "index").first()


def _moved_at(task: AgentTask) -> datetime.datetime:
    """Return when the step that it is in began."""
    steps = Step.objects.filter(task=task, run_number=task.run_number).order_by("-index")
    return (
        steps.values_list("completed_at", flat=True).first() or task.started_at or task.created_at
    )


def _timeline(
    request: HttpRequest, task: AgentTask, payloads: bool, now: datetime.datetime
) -> Timeline:
    asked = request.GET.get("page", "")
    return timeline_of(
        task,
        page=int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 7 else None,
        errors_only=request.GET.get("errors") == "1",
        payloads=payloads,
        now=now,
    )


def _report(task: AgentTask) -> SafeString | str:
    return rendered(task.report) if task.report else ""


def _tiles(task: AgentTask, now: datetime.datetime) -> list[Tile]:
    begun = task.started_at
    queued = ((begun or now) - task.created_at).total_seconds()
    ran = ((task.completed_at or now) - begun).total_seconds() if begun else 0
    limits = task.limits
    most_calls, cost = limits.get("max_tool_calls"), limits.get("max_cost_usd")
    tokens = f"{task.cached_input_tokens:,} cached" if task.cached_input_tokens else ""
    return [
        Tile(name="Steps", value=str(task.steps_completed), more=_of(limits.get("max_steps"))),
        Tile(name="Tool calls", value=str(task.tool_calls_made), more=_of(most_calls)),
        Tile(name="Queued", value=formatting.duration(round(max(0, queued), 1))),
        Tile(
            name="Ran",
            value=formatting.duration(round(max(0, ran), 1)) if begun else "–",
            more=_of(limits.get("timeout_seconds"), formatting.duration),
        ),
        Tile(name="Tokens in", value=f"{task.input_tokens:,}", more=tokens),
        Tile(name="Tokens out", value=f"{task.output_tokens:,}"),
        Tile(name="Cost", value=formatting.money(task.cost_usd), more=_of(cost, formatting.money)),
        Tile(name="Run", value=str(task.run_number), more=f"{task.attempt} failed tries"),
        Tile(name="Model", value=task.model),
        *_worker_tile(task, now),
    ]


def _of(limit: Any, say: Any = str) -> str:
    return "" if limit is None else f"of {say(float(limit) if say is not str else limit)}"


def _worker_tile(task: AgentTask, now: datetime.datetime) -> list[Tile]:
    if task.worker is None:
        return []
    left = (task.worker.lease_until - now).total_seconds()
    age = max(0, int(settings.ENVIRONMENT.caylex_lease_seconds - left))
    return [Tile(name="Worker", value=str(task.worker), more=f"heartbeat {age} s ago")]


def commands(request: HttpRequest, task: AgentTask, *, now: datetime.datetime) -> dict[str, str]:
    """Return what the page lets one copy into a shell."""
    opened = payloads_open(request, task, now=now)
    api = request.build_absolute_uri(reverse("agent-tasks"))
    return {
        "poll_command": poll_command(task, api=api),
        "submit_command": submit_command(task, api=api) if opened else "",
    }


def addresses(task: AgentTask) -> dict[str, str]:
    """Return where a task's page gets its parts from."""
    name = "admin:tasks_app_agenttask"
    return {
        "live": reverse(f"{name}_live", args=[task.pk]),
        "open": reverse(f"{name}_open", args=[task.pk]),
        "link": reverse(f"{name}_link", args=[task.pk]),
        "download": reverse(f"{name}_download", args=[task.pk]),
    }
