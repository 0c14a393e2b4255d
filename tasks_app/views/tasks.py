"""Submit and poll."""

from __future__ import annotations

import hashlib
import json
import re

from django.utils import timezone
from django.utils.http import parse_etags
from rest_framework.request import Request
from rest_framework.response import Response

from caylex_project.accounts.keys import find_navigator_key
from caylex_project.accounts.models import Navigator, PlatformToken
from tasks_app.answers import POLL_AFTER_MS, SubmitAnswer, TaskAnswer
from tasks_app.openapi.tasks import describe_poll, describe_submit
from tasks_app.operations.idempotency import (
    IdempotencyKeyReused,
    Once,
    fingerprint,
    submit_once,
)
from tasks_app.operations.submit import SkillNotFound, Submission, Submitted, submit
from tasks_app.parameters import whole_number
from tasks_app.problems import Problem
from tasks_app.serializers import SubmitRequest, read_body
from tasks_app.views.base import BASE, VERSION_HEADER, APIBase, task_id_of

MOST_WAIT = 60  # seconds
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,255}")


class SubmitView(APIBase):
    """`/agent-task`."""

    @describe_submit
    def post(self, request: Request) -> Response:
        """Make a task and answer 202 when it is committed."""
        body = read_body(SubmitRequest, request.data)
        key = _idempotency_key(request)
        navigator = _navigator_for(body, token=self.token)
        once = None
        if key is not None:
            once = Once(key=key, fingerprint=fingerprint(dict(request.data), navigator=navigator))
        try:
            task, replayed = _submit(navigator, body.submission(), once)
        except IdempotencyKeyReused:
            raise Problem(
                status=422,
                code="idempotency_key_reused",
                detail="This Idempotency-Key was sent before with another body. Use a new key.",
            ) from None
        except SkillNotFound:
            raise Problem(
                status=404,
                code="skill_not_found",
                detail="The project has no skill of that name or slug.",
            ) from None
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
    now = timezone.now()
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
    key = find_navigator_key(body.caylex_api_key, tenant=token.tenant, now=timezone.now())
    if key is None:
        raise Problem(status=403, code="invalid_api_key", detail="The caylex_api_key is not valid.")
    return key.navigator
