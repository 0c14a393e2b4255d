"""Submit, list, poll, change and delete."""

from __future__ import annotations

import hashlib
import json
import re

from django.utils.http import parse_etags
from rest_framework.request import Request
from rest_framework.response import Response

from caylex_project.accounts.keys import find_navigator_key
from caylex_project.accounts.models import Navigator, PlatformToken
from caylex_project.clock import clock
from tasks_app.answers import POLL_AFTER_MS, SubmitAnswer, TaskAnswer
from tasks_app.list_answers import TasksAnswer
from tasks_app.list_parameters import read_cursor, read_filter, read_size
from tasks_app.listing import list_tasks
from tasks_app.openapi.lists import describe_change, describe_delete, describe_list
from tasks_app.openapi.tasks import describe_poll, describe_submit
from tasks_app.operations.erase import erase
from tasks_app.operations.idempotency import Once, fingerprint, submit_once
from tasks_app.operations.metadata import change_metadata
from tasks_app.operations.submit import Submission, Submitted, submit
from tasks_app.parameters import whole_number
from tasks_app.problems import Problem
from tasks_app.serializers.changes import MetadataRequest
from tasks_app.serializers.reading import read_body
from tasks_app.serializers.submit import SubmitRequest
from tasks_app.views.base import BASE, VERSION_HEADER, APIBase, task_id_of
from tasks_app.views.refusals import refusals_answered

MOST_WAIT = 60  # seconds
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,255}")


class TasksView(APIBase):
    """`/agent-task`."""

    @describe_list
    def get(self, request: Request) -> Response:
        """Show a page of the tenant's tasks."""
        size, after = read_size(request), read_cursor(request)
        page = list_tasks(
            tenant_id=self.token.tenant_id, wanted=read_filter(request), after=after, size=size
        )
        answer = TasksAnswer.of(page, size=size, first=after is None)
        return Response(answer.model_dump(mode="json"))

    @describe_submit
    def post(self, request: Request) -> Response:
        """Make a task and answer 202 when it is committed."""
        body = read_body(SubmitRequest, request.data)
        key = _idempotency_key(request)
        navigator = _navigator_for(body, token=self.token)
        once = None
        if key is not None:
            once = Once(key=key, fingerprint=fingerprint(dict(request.data), navigator=navigator))
        with refusals_answered():
            task, replayed = _submit(navigator, body.submission(), once)
        answer = SubmitAnswer.of(task).model_dump(mode="json")
        headers = {"Location": f"{BASE}/agent-task/{task.task_id}"}
        if replayed:
            headers["Idempotent-Replayed"] = "true"
        return Response(answer, status=202, headers=headers)


class TaskView(APIBase):
    """`/agent-task/{task_id}`."""

    @describe_poll
    def get(self, request: Request, task_id: str) -> Response:
        """Show the task; 304 where the caller has seen it as it is."""
        whole_number(request, "wait", least=0, most=MOST_WAIT)  # the layer before us waits
        task = self.find(task_id_of(task_id))
        return _politely(request, TaskAnswer.of(task), version=task.version)

    @describe_change
    def patch(self, request: Request, task_id: str) -> Response:
        """Change the task's metadata."""
        body = read_body(MetadataRequest, request.data)
        found = task_id_of(task_id)
        with refusals_answered():
            change_metadata(task_id=found, tenant_id=self.token.tenant_id, changes=body.metadata)
        return self.show(found)

    @describe_delete
    def delete(self, request: Request, task_id: str) -> Response:
        """Delete the task, where it has ended."""
        with refusals_answered():
            erase(task_id=task_id_of(task_id), tenant_id=self.token.tenant_id)
        return Response(status=204)


def _politely(request: Request, answer: TaskAnswer, *, version: str) -> Response:
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


def _submit(
    navigator: Navigator, submission: Submission, once: Once | None
) -> tuple[Submitted, bool]:
    now = clock.now()
    if once is None:
        return submit(navigator=navigator, submission=submission, now=now), False
    return submit_once(navigator=navigator, submission=submission, once=once, now=now)


def _idempotency_key(request: Request) -> str | None:
    """Return the caller's key, None where there is none. Raises Problem 400."""
    key: str | None = request.headers.get("Idempotency-Key")
    if key is not None and not _PRINTABLE.fullmatch(key):
        raise Problem(
            status=400,
            code="invalid_idempotency_key",
            detail="An Idempotency-Key has 1 to 255 printable ASCII characters.",
        )
    return key


def _navigator_for(body: SubmitRequest, *, token: PlatformToken) -> Navigator:
    """Return the navigator whose key the body holds. Raises Problem 403."""
    key = find_navigator_key(body.caylex_api_key, tenant=token.tenant, now=clock.now())
    if key is None:
        raise Problem(status=403, code="invalid_api_key", detail="The caylex_api_key is not valid.")
    return key.navigator
