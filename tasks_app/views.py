"""The endpoints: they read a request, call an operation or a query, and show what it says."""

from __future__ import annotations

import re
import uuid
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from caylex_project.accounts.keys import find_navigator_key
from caylex_project.accounts.models import Navigator, PlatformToken
from tasks_app import operations, queries
from tasks_app.answers import SubmitAnswer, TaskAnswer
from tasks_app.problems import Problem
from tasks_app.schema import describe_cancel, describe_poll, describe_retry, describe_submit
from tasks_app.serializers import CancelRequest, RetryRequest, SubmitRequest, read_body

BASE = "/api/v1"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class APIBase(APIView):
    """What all endpoints share: they know the methods that they define, and no other."""

    http_method_names = ["get", "head", "post", "put", "patch", "delete"]

    @property
    def token(self) -> PlatformToken:
        """The token of this request; authentication has let no request in without one."""
        token = self.request.auth
        assert isinstance(token, PlatformToken)
        return token

    def show(self, task_id: uuid.UUID, *, status: int = 200) -> Response:
        """Answer with the task. Raises Problem 404 where the caller's tenant has none such."""
        task = queries.find_task(task_id=task_id, tenant_id=self.token.tenant_id)
        if task is None:
            raise _task_not_found()
        return Response(TaskAnswer.of(task).model_dump(mode="json"), status=status)


class SubmitView(APIBase):
    """`/agent-task`."""

    @describe_submit
    def post(self, request: Request) -> Response:
        """Make a task and answer 202 when it is committed."""
        body = read_body(SubmitRequest, request.data)
        navigator = _navigator_for(body, token=self.token)
        try:
            task = operations.submit(
                navigator=navigator, submission=body.submission(), now=timezone.now()
            )
        except operations.SkillNotFound:
            raise Problem(
                status=404,
                code="skill_not_found",
                detail="The project has no skill of that name or slug.",
            ) from None
        answer = SubmitAnswer.of(task).model_dump(mode="json")
        return Response(
            answer, status=202, headers={"Location": f"{BASE}/agent-task/{task.task_id}"}
        )


class TaskView(APIBase):
    """`/agent-task/{task_id}`."""

    @describe_poll
    def get(self, request: Request, task_id: str) -> Response:
        """Show the task."""
        return self.show(_task_id(task_id))


class CancelView(APIBase):
    """`/agent-task/{task_id}/cancel`."""

    @describe_cancel
    def post(self, request: Request, task_id: str) -> Response:
        """Stop the task: 202, or 200 where it had ended before."""
        body = read_body(CancelRequest, request.data)
        found = _task_id(task_id)
        try:
            stopped = operations.cancel(
                task_id=found,
                tenant_id=self.token.tenant_id,
                reason=body.reason or "",
                now=timezone.now(),
            )
        except operations.TaskNotFound:
            raise _task_not_found() from None
        return self.show(found, status=202 if stopped else 200)


class RetryView(APIBase):
    """`/agent-task/{task_id}/retry`."""

    @describe_retry
    def post(self, request: Request, task_id: str) -> Response:
        """Queue the task's next run."""
        read_body(RetryRequest, request.data)
        found = _task_id(task_id)
        try:
            operations.retry(task_id=found, tenant_id=self.token.tenant_id, now=timezone.now())
        except operations.TaskNotFound:
            raise _task_not_found() from None
        except operations.RetryRefused as refused:
            raise Problem(status=409, code="not_retryable", detail=str(refused)) from None
        return self.show(found, status=202)


@extend_schema(exclude=True)
class UnknownView(APIView):
    """Every other address below `/api/`: 404, whatever the method and whoever asks."""

    authentication_classes = ()

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer any method."""
        self.http_method_not_allowed = self._nothing_here  # type: ignore[method-assign]
        return super().dispatch(request, *args, **kwargs)

    def _nothing_here(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        raise Problem(status=404, code="not_found", detail="There is nothing at this address.")


def _navigator_for(body: SubmitRequest, *, token: PlatformToken) -> Navigator:
    """Return the navigator whose key the body holds. Raises Problem 403."""
    key = find_navigator_key(body.caylex_api_key, tenant=token.tenant, now=timezone.now())
    if key is None:
        raise Problem(status=403, code="invalid_api_key", detail="The caylex_api_key is not valid.")
    return key.navigator


def _task_id(text: str) -> uuid.UUID:
    """Return the id. Raises Problem 404 where it is no UUID: no such task can exist."""
    if not _UUID.fullmatch(text):
        raise _task_not_found()
    return uuid.UUID(text)


def _task_not_found() -> Problem:
    return Problem(status=404, code="task_not_found", detail="There is no such task.")
