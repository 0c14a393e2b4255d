"""Stopping a task, letting it go on, and doing it anew."""

from __future__ import annotations

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from caylex_project.clock import clock
from tasks_app.answers import SubmitAnswer
from tasks_app.openapi.runs import (
    describe_cancel,
    describe_continue,
    describe_rerun,
    describe_retry,
)
from tasks_app.operations.run_limits import NONE_ASKED
from tasks_app.operations.runs import continue_task, rerun, retry
from tasks_app.operations.stop import cancel
from tasks_app.serializers.changes import (
    CancelRequest,
    ContinueRequest,
    RerunRequest,
    RetryRequest,
)
from tasks_app.serializers.reading import read_body
from tasks_app.views.base import BASE, APIBase, task_id_of
from tasks_app.views.refusals import refusals_answered


class CancelView(APIBase):
    """`/agent-task/{task_id}/cancel`."""

    @describe_cancel
    def post(self, request: Request, task_id: str) -> Response:
        """Stop the task: 202, or 200 where it had ended before."""
        body = read_body(CancelRequest, request.data)
        found = task_id_of(task_id)
        with refusals_answered():
            stopped = cancel(
                task_id=found,
                tenant_id=self.token.tenant_id,
                reason=body.reason or "",
                now=clock.now(),
            )
        return self.show(found, status=202 if stopped else 200)


class RetryView(APIBase):
    """`/agent-task/{task_id}/retry`."""

    @describe_retry
    def post(self, request: Request, task_id: str) -> Response:
        """Queue the task's next run."""
        body = read_body(RetryRequest, request.data)
        found = task_id_of(task_id)
        with refusals_answered(), transaction.atomic():
            retry(
                task_id=found,
                tenant_id=self.token.tenant_id,
                limits=body.limits or NONE_ASKED,
                now=clock.now(),
            )
            return self.show(found, status=202)  # as this leaves it: a worker is quick to take it


class ContinueView(APIBase):
    """`/agent-task/{task_id}/continue`."""

    @describe_continue
    def post(self, request: Request, task_id: str) -> Response:
        """Queue the task's next run, with a further instruction."""
        body = read_body(ContinueRequest, request.data)
        found = task_id_of(task_id)
        with refusals_answered(), transaction.atomic():
            continue_task(
                task_id=found,
                tenant_id=self.token.tenant_id,
                message=body.message,
                limits=body.limits or NONE_ASKED,
                now=clock.now(),
            )
            return self.show(found, status=202)  # as this leaves it, as a retry does


class RerunView(APIBase):
    """`/agent-task/{task_id}/rerun`."""

    @describe_rerun
    def post(self, request: Request, task_id: str) -> Response:
        """Make a new task of the same submission."""
        read_body(RerunRequest, request.data)
        found = task_id_of(task_id)
        with refusals_answered():
            task = rerun(task_id=found, tenant_id=self.token.tenant_id, now=clock.now())
        answer = SubmitAnswer.of(task).model_dump(mode="json")
        return Response(
            answer, status=202, headers={"Location": f"{BASE}/agent-task/{task.task_id}"}
        )
