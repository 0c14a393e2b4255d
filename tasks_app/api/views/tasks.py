"""Submit, list, poll, change and delete."""

from __future__ import annotations

import hashlib
import json

from django.utils.http import parse_etags
from rest_framework.request import Request
from rest_framework.response import Response

from caylex_project.accounts.keys import find_navigator_key
from caylex_project.accounts.models import Navigator, PlatformToken
from caylex_project.db.clock import clock
from tasks_app.api.errors import Problem
from tasks_app.api.list_params import read_cursor, read_filter, read_size
from tasks_app.api.openapi.lists import describe_change, describe_delete, describe_list
from tasks_app.api.openapi.tasks import describe_poll, describe_submit
from tasks_app.api.operation_errors import operation_errors_as_problems
from tasks_app.api.query_params import whole_number
from tasks_app.api.requests.changes import MetadataRequest
from tasks_app.api.requests.submit import SubmitRequest
from tasks_app.api.requests.validation import read_body
from tasks_app.api.responses.task_list import TasksResponse
from tasks_app.api.responses.tasks import POLL_AFTER_MS, TaskResponse
from tasks_app.api.views.base import VERSION_HEADER, APIBase, task_id_of
from tasks_app.api.views.once import key_of, once_of, submitted_once
from tasks_app.operations.delete import delete
from tasks_app.operations.metadata import change_metadata
from tasks_app.operations.submit import create_task
from tasks_app.operations.webhooks import check_webhook
from tasks_app.queries.task_list import list_tasks

MAX_WAIT = 60  # seconds
PATH = "/agent-task"


class TasksView(APIBase):
    """`/agent-task`."""

    @describe_list
    def get(self, request: Request) -> Response:
        """Show a page of the tenant's tasks."""
        size, after = read_size(request), read_cursor(request)
        page = list_tasks(
            tenant_id=self.token.tenant_id, wanted=read_filter(request), after=after, size=size
        )
        answer = TasksResponse.of(page, size=size, first=after is None)
        return Response(answer.model_dump(mode="json"))

    @describe_submit
    def post(self, request: Request) -> Response:
        """Make a task and answer 202 when it is committed."""
        body = read_body(SubmitRequest, request.data)
        key_of(request)
        navigator = _navigator_for(body, token=self.token)
        submission = body.submission()
        return submitted_once(
            once_of(request, tenant_id=self.token.tenant_id, path=PATH, navigator=navigator),
            prepare=lambda: check_webhook(submission.webhook),
            act=lambda warning: create_task(
                navigator=navigator,
                submission=submission,
                webhook_warning=warning,
                now=clock.now(),
            ),
        )


class TaskView(APIBase):
    """`/agent-task/{task_id}`."""

    @describe_poll
    def get(self, request: Request, task_id: str) -> Response:
        """Show the task; 304 where the caller has seen it as it is."""
        whole_number(request, "wait", least=0, most=MAX_WAIT)  # the layer before us waits
        task = self.find(task_id_of(task_id))
        return _conditional_response(request, self.answer(task), version=task.version)

    @describe_change
    def patch(self, request: Request, task_id: str) -> Response:
        """Change the task's metadata."""
        body = read_body(MetadataRequest, request.data)
        found = task_id_of(task_id)
        with operation_errors_as_problems():
            change_metadata(task_id=found, tenant_id=self.token.tenant_id, changes=body.metadata)
        return self.show(found)

    @describe_delete
    def delete(self, request: Request, task_id: str) -> Response:
        """Delete the task, where it has ended."""
        with operation_errors_as_problems():
            delete(task_id=task_id_of(task_id), tenant_id=self.token.tenant_id)
        return Response(status=204)


def _conditional_response(request: Request, answer: TaskResponse, *, version: str) -> Response:
    """Say when to ask again, and send nothing that the caller has already."""
    shown = answer.model_dump(mode="json")
    said = json.dumps(shown, separators=(",", ":")).encode()
    etag = f'"{hashlib.sha256(said).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", VERSION_HEADER: version}
    if not answer.terminal:
        headers["Retry-After"] = str(POLL_AFTER_MS // 1000)
    known = parse_etags(request.headers.get("If-None-Match", ""))
    if "*" in known or etag in [each.removeprefix("W/") for each in known]:
        return Response(status=304, headers=headers)
    return Response(shown, headers=headers)


def _navigator_for(body: SubmitRequest, *, token: PlatformToken) -> Navigator:
    """Return the navigator whose key the body holds. Raises Problem 403."""
    key = find_navigator_key(body.caylex_api_key, tenant=token.tenant, now=clock.now())
    if key is None:
        raise Problem(status=403, code="invalid_api_key", detail="The caylex_api_key is not valid.")
    return key.navigator
