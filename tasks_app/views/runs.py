"""Stopping a task, and letting it go on."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.openapi.runs import describe_cancel, describe_retry
from tasks_app.operations.locked import TaskNotFound
from tasks_app.operations.runs import RetryRefused, retry
from tasks_app.operations.stop import cancel
from tasks_app.problems import Problem
from tasks_app.serializers import CancelRequest, RetryRequest, read_body
from tasks_app.views.base import APIBase, task_id_of, task_not_found


class CancelView(APIBase):
    """`/agent-task/{task_id}/cancel`."""

    @describe_cancel
    def post(self, request: Request, task_id: str) -> Response:
        """Stop the task: 202, or 200 where it had ended before."""
        body = read_body(CancelRequest, request.data)
        found = task_id_of(task_id)
        try:
            stopped = cancel(
                task_id=found,
                tenant_id=self.token.tenant_id,
                reason=body.reason or "",
                now=timezone.now(),
            )
        except TaskNotFound:
            raise task_not_found() from None
        return self.show(found, status=202 if stopped else 200)


class RetryView(APIBase):
    """`/agent-task/{task_id}/retry`."""

    @describe_retry
    def post(self, request: Request, task_id: str) -> Response:
        """Queue the task's next run."""
        read_body(RetryRequest, request.data)
        found = task_id_of(task_id)
        try:
            with transaction.atomic():  # shown as this leaves it: a worker is quick to take it
                retry(task_id=found, tenant_id=self.token.tenant_id, now=timezone.now())
                return self.show(found, status=202)
        except TaskNotFound:
            raise task_not_found() from None
        except RetryRefused as refused:
            raise Problem(status=409, code="not_retryable", detail=str(refused)) from None
