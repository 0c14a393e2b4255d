"""What a task's page fetches: its live parts, a payload whole, and the task as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from caylex_project.db.clock import clock
from tasks_app.admin.tasks.page import journal_context, now_context
from tasks_app.admin.tasks.payloads import may_see_payloads, payloads_open
from tasks_app.admin.tasks.timeline import pretty, pretty_text
from tasks_app.models import AgentTask, Step, ToolCall

_OF_TASK = (
    *("id", "tenant_id", "project_id", "navigator_id", "session_id", "status", "stop_reason"),
    *("model", "required_skill", "limits", "metadata", "priority", "rerun_of_id", "run_number"),
    *("attempt", "crashes", "next_attempt_at", "cancel_requested_at"),
    *("cancel_reason", "steps_completed", "tool_calls_made", "input_tokens", "output_tokens"),
    *("cached_input_tokens", "reasoning_tokens", "cost_usd", "authentication_needed"),
    *("final_report_produced", "created_at", "started_at", "completed_at"),
)
_OF_STEP = (
    *("id", "run_number", "index", "finish_reason", "model", "provider_request_id", "usage"),
    *("started_at", "completed_at"),
)
_OF_CALL = (
    *("id", "index", "name", "server", "tool", "repeatable", "refused", "state"),
    *("started_at", "completed_at"),
)
Part = Callable[[Any, Any], tuple[AgentTask, str]]
_OF_EVENT = ("sequence", "kind", "at")


def fragment(request: HttpRequest, task: AgentTask, offers: dict[str, Any]) -> HttpResponse:
    """Answer the parts of the page that have changed since the version `seen`."""
    now = clock.now()
    context = {**now_context(request, task, now=now), **offers}
    if request.GET.get("seen") != context["version"]:
        context |= {**journal_context(request, task, now=now), "changed": True}
    return TemplateResponse(request, "admin/tasks_app/agenttask/fragment.html", context)


def whole_task(request: HttpRequest, task: AgentTask) -> HttpResponse:
    """Answer the task and its journal as a file; payloads to whom they are open."""
    payloads = payloads_open(request, task, now=clock.now())
    quoting = ("error", "waiting_reason") if may_see_payloads(request) else ()
    more = ("data",) if payloads else ()
    steps = list(task.steps.order_by("run_number", "index").prefetch_related("tool_calls"))
    body = {
        **_values(task, _OF_TASK, *quoting, *(("prompt", "report") if payloads else ())),
        "user_email": task.end_user.email,
        "steps": [_step(step, payloads) for step in steps],
        "events": [_values(each, _OF_EVENT, *more) for each in task.events.order_by("sequence")],
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


def _step_part(read: Callable[[Step], str]) -> Part:
    def part(tasks: Any, pk: Any) -> tuple[AgentTask, str]:
        step = Step.objects.filter(pk=pk, task__in=tasks).select_related("task").first()
        if step is None:
            raise Http404
        return step.task, read(step)

    return part


def _call_part(read: Callable[[ToolCall], str | None]) -> Part:
    def part(tasks: Any, pk: Any) -> tuple[AgentTask, str]:
        calls = ToolCall.objects.filter(pk=pk, step__task__in=tasks)
        call = calls.select_related("step__task").first()
        text = None if call is None else read(call)
        if call is None or text is None:
            raise Http404
        return call.step.task, text

    return part


def _prompt(tasks: Any, pk: Any) -> tuple[AgentTask, str]:
    task: AgentTask | None = tasks.filter(pk=pk).first()
    if task is None:
        raise Http404
    return task, task.prompt


_PARTS: dict[str, Part] = {
    "prompt": _prompt,
    "request": _step_part(lambda step: pretty(step.request)),
    "response": _step_part(lambda step: pretty(step.response)),
    "words": _step_part(lambda step: pretty(step.response)),
    "arguments": _call_part(lambda call: pretty_text(call.arguments)),
    "result": _call_part(lambda call: None if call.result is None else pretty_text(call.result)),
}


def payload(request: HttpRequest, tasks: Any, part: str, pk: Any) -> HttpResponse:
    """Answer one payload whole, as a text file, or the task's page where it is not open.

    `tasks` are those that the user may see. Raises Http404, PermissionDenied.
    """
    if not may_see_payloads(request):
        raise PermissionDenied
    if part not in _PARTS:
        raise Http404
    task, text = _PARTS[part](tasks, pk)
    if not payloads_open(request, task, now=clock.now()):
        return HttpResponseRedirect(reverse("admin:tasks_app_agenttask_change", args=[task.pk]))
    answer = HttpResponse(text, content_type="text/plain; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{part}-{pk}.txt"'
    return answer
