"""Who is shown prompts, arguments, results and reports of a task, and when.

Whoever has the permission opens them for an hour by a POST that stands in the audit trail; a GET
looks whether it does, and changes nothing.
"""

from __future__ import annotations

import datetime

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from caylex_project.accounts.audit import record
from caylex_project.accounts.models import AuditEntry
from caylex_project.db.clock import clock
from tasks_app.admin.action_forms import ReasonForm
from tasks_app.models import AgentTask

LOOK = "look at payloads"
OPEN_FOR = datetime.timedelta(hours=1)


def may_see_payloads(request: HttpRequest) -> bool:
    """Tell whether the user may open prompts, arguments, results and reports."""
    return bool(request.user.has_perm("tasks_app.view_payload"))


def payloads_open(request: HttpRequest, task: AgentTask, *, now: datetime.datetime) -> bool:
    """Tell whether the user may see the task's payloads and has opened them lately."""
    if not may_see_payloads(request):
        return False
    looks = AuditEntry.objects.filter(
        object_type=task._meta.label_lower,
        object_id=str(task.pk),
        actor=request.user.get_username(),
        action=LOOK,
        at__gt=now - OPEN_FOR,
    )
    return looks.exists()


def open_payloads(request: HttpRequest, task: AgentTask) -> HttpResponse:
    """Open the task's payloads to the user, once an hour. Raises PermissionDenied."""
    if not may_see_payloads(request):
        raise PermissionDenied
    now = clock.now()
    form = ReasonForm(request.POST)
    form.fields["reason"].required = False
    if not form.is_valid():
        messages.warning(request, f"Not opened. {form.errors['reason'][0]}")
    elif not payloads_open(request, task, now=now):
        record(
            actor=request.user,
            action=LOOK,
            on=task,
            project_id=task.project_id,
            reason=form.cleaned_data["reason"],
            now=now,
        )
    return HttpResponseRedirect(reverse("admin:tasks_app_agenttask_change", args=[task.pk]))
