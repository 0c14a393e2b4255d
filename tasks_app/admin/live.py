"""What a task's page fetches: its live parts, a payload whole, and the task as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from tasks_app.admin.page import journal_context, may_see_payloads, now_context
from tasks_app.admin.timeline import pretty, pretty_text
from tasks_app.models import AgentTask, Step, ToolCall

_OF_TASK = (
    *("id", "tenant_id", "project_id", "navigator_id", "session_id", "status", "stop_reason"),
    *("model", "required_skill", "limits", "metadata", "priority", "rerun_of_id", "run_number"),
    *("attempt", "crashes", "next_attempt_at", "waiting_reason", "cancel_requested_at"),
    *("cancel_reason", "steps_completed", "tool_calls_made", "input_tokens", "output_tokens"),
    *("cached_input_tokens", "reasoning_tokens", "cost_usd", "authentication_needed"),
    *("final_report_produced", "error", "created_at", "started_at", "completed_at"),
)
_OF_STEP = (
    *("id", "run_number", "index", "finish_reason", "model", "provider_request_id", "usage"),
    *("started_at", "completed_at"),
)
_OF_CALL = (
    *("id", "index", "name", "server", "tool", "repeatable", "refused", "state"),
    *("started_at", "completed_at"),
)
_OF_EVENT = ("sequence", "kind", "at", "data")


def fragment(request: HttpRequest, task: AgentTask, offers: dict[str, Any]) -> HttpResponse:
    """Answer the parts of the page that have changed since the version `seen`."""
    now = timezone.now()
    context = {**now_context(task, now=now), **offers}
    if request.GET.get("seen") != context["version"]:
        context |= {**journal_context(request, task, now=now), "changed": True}
    return TemplateResponse(request, "admin/tasks_app/agenttask/fragment.html", context)


def whole_task(request: HttpRequest, task: AgentTask) -> HttpResponse:
    """Answer the task and its journal as a file; payloads to whom may see them."""
    payloads = may_see_payloads(request)
    steps = list(task.steps.order_by("run_number", "index").prefetch_related("tool_calls"))
    body = {
        **_values(task, _OF_TASK, *(("prompt", "report") if payloads else ())),
        "user_email": task.end_user.email,
        "steps": [_step(step, payloads) for step in steps],
        "events": [_values(each, _OF_EVENT) for each in task.events.order_by("sequence")],
    }
    answer = JsonResponse(body, json_dumps_params={"indent": 2, "ensure_ascii": False})
    answer["Content-Disposition"] = f'attachment; filename="task-{task.pk}.json"'
    return answer


def _step(step: Step, payloads: bool) -> dict[str, Any]:
    calls = sorted(step.tool_calls.all(), key=lambda call: call.index)
    more = ("arguments", "result") if payloads else ()
    return {
        **_values(step, _OF_STEP, *(("request", "response") if payloads else ())),
        "tool_calls": [_values(call, _OF_CALL, *more) for call in calls],
    }


def _values(row: Any, names: tuple[str, ...], *more: str) -> dict[str, Any]:
    return {name: getattr(row, name) for name in (*names, *more)}


def _step_part(read: Callable[[Step], str]) -> Callable[[Any, Any], str]:
    def part(tasks: Any, pk: Any) -> str:
        step = Step.objects.filter(pk=pk, task__in=tasks).first()
        if step is None:
            raise Http404
        return read(step)

    return part


def _call_part(read: Callable[[ToolCall], str | None]) -> Callable[[Any, Any], str]:
    def part(tasks: Any, pk: Any) -> str:
        call = ToolCall.objects.filter(pk=pk, step__task__in=tasks).first()
        text = None if call is None else read(call)
        if text is None:
            raise Http404
        return text

    return part


def _prompt(tasks: Any, pk: Any) -> str:
    task: AgentTask | None = tasks.filter(pk=pk).first()
    if task is None:
        raise Http404
    return task.prompt


_PARTS: dict[str, Callable[[Any, Any], str]] = {
    "prompt": _prompt,
    "request": _step_part(lambda step: pretty(step.request)),
    "response": _step_part(lambda step: pretty(step.response)),
    "words": _step_part(lambda step: pretty(step.response)),
    "arguments": _call_part(lambda call: pretty_text(call.arguments)),
    "result": _call_part(lambda call: None if call.result is None else pretty_text(call.result)),
}


def payload(request: HttpRequest, tasks: Any, part: str, pk: Any) -> HttpResponse:
    """Answer one payload whole, as a text file. Raises Http404, PermissionDenied.

    `tasks` are those that the user may see.
    """
    if not may_see_payloads(request):
        raise PermissionDenied
    if part not in _PARTS:
        raise Http404
    answer = HttpResponse(_PARTS[part](tasks, pk), content_type="text/plain; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{part}-{pk}.txt"'
    return answer
