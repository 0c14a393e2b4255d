"""*Copy a link for this user*: staff pass on a page on which a task's user connects servers."""

from __future__ import annotations

import datetime

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache

from caylex_project.accounts.audit import record
from caylex_project.db.clock import clock
from caylex_project.integrations.links import (
    TASK_LIFE,
    LinkRefused,
    LinkRequest,
    address_of,
    connectable,
    make_link,
)
from tasks_app.admin.tasks.payloads import may_see_payloads
from tasks_app.models import AgentTask
from tasks_app.operations.staff import may_operate

ACTION = "make a link to connect servers"


def offers_link(request: HttpRequest, task: AgentTask) -> bool:
    """Tell whether the user may make a link for the task's end user, and one would be of use.

    Whoever holds a link connects accounts as that end user, so that it takes both permissions.
    """
    may = may_operate(request.user) and may_see_payloads(request)
    return may and bool(connectable(task.project, task.authentication_needed))


@never_cache
def give_link(request: HttpRequest, task: AgentTask) -> HttpResponse:
    """Make a link for the task's end user, write that down, and show it this once.

    Raises PermissionDenied.
    """
    if request.method != "POST" or not offers_link(request, task):
        raise PermissionDenied
    page = reverse("admin:tasks_app_agenttask_change", args=[task.pk])
    try:
        address = _link(request, task, now=clock.now())
    except LinkRefused as refused:
        messages.warning(request, f"No link was made. {refused}")
        return HttpResponseRedirect(page)
    context = {
        "title": f"A link for {task.end_user.email}",
        "task": task,
        "servers": ", ".join(connectable(task.project, task.authentication_needed)),
        "address": address,
        "back": page,
    }
    return TemplateResponse(request, "admin/tasks_app/agenttask/link.html", context)


def _link(request: HttpRequest, task: AgentTask, *, now: datetime.datetime) -> str:
    public_url = settings.ENVIRONMENT.caylex_public_url
    if not public_url:
        raise LinkRefused("The operator has to set CAYLEX_PUBLIC_URL first.")
    servers = connectable(task.project, task.authentication_needed)
    asked = LinkRequest(
        email=task.end_user.email, servers=tuple(servers), expires_at=now + TASK_LIFE
    )
    actor = request.user.get_username()
    with transaction.atomic():
        link, token = make_link(project=task.project, asked=asked, created_by=actor, now=now)
        record(
            actor=request.user,
            action=ACTION,
            on=task,
            project_id=task.project_id,
            details={"link": str(link.pk), "servers": servers},
            now=now,
        )
    return address_of(token, public_url=public_url)
