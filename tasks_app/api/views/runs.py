"""Stopping a task, letting it go on, and doing it anew."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from caylex_project.db.clock import clock
from tasks_app.api.openapi.runs import (
    describe_cancel,
    describe_continue,
    describe_rerun,
    describe_retry,
)
from tasks_app.api.requests.changes import (
    CancelRequest,
    ContinueRequest,
    RerunRequest,
    RetryRequest,
)
from tasks_app.api.requests.validation import read_body
from tasks_app.api.views.base import APIBase, task_id_of
from tasks_app.api.views.once import changed_once, once_of, submitted_once
from tasks_app.operations.cancel import cancel
from tasks_app.operations.limits import NONE_ASKED
from tasks_app.operations.runs import check_rerun, continue_task, create_rerun, retry


class CancelView(APIBase):
    """`/agent-task/{task_id}/cancel`."""

    @describe_cancel
    def post(self, request: Request, task_id: str) -> Response:
        """Stop the task: 202, or 200 where it had ended before."""
        body = read_body(CancelRequest, request.data)
        found = task_id_of(task_id)

        def change() -> Response:
            stopped = cancel(
                task_id=found,
                tenant_id=self.token.tenant_id,
                reason=body.reason or "",
                now=clock.now(),
            )
            return self.show(found, status=202 if stopped else 200)

        return changed_once(
            once_of(request, tenant_id=self.token.tenant_id, path=f"/agent-task/{found}/cancel"),
            task_id=found,
            change=change,
        )


class RetryView(APIBase):
    """`/agent-task/{task_id}/retry`."""

    @describe_retry
    def post(self, request: Request, task_id: str) -> Response:
        """Queue the task's next run."""
        body = read_body(RetryRequest, request.data)
        found = task_id_of(task_id)

        def change() -> Response:
            retry(
                task_id=found,
                tenant_id=self.token.tenant_id,
                limits=body.limits or NONE_ASKED,
                now=clock.now(),
            )
            return self.show(found, status=202)  # before the commit: a worker is quick to take it

        return changed_once(
            once_of(request, tenant_id=self.token.tenant_id, path=f"/agent-task/{found}/retry"),
            task_id=found,
            change=change,
        )


class ContinueView(APIBase):
    """`/agent-task/{task_id}/continue`."""

    @describe_continue
    def post(self, request: Request, task_id: str) -> Response:
        """Queue the task's next run, with a further instruction."""
        body = read_body(ContinueRequest, request.data)
        found = task_id_of(task_id)

        def change() -> Response:
            continue_task(
                task_id=found,
                tenant_id=self.token.tenant_id,
                message=body.message,
                limits=body.limits or NONE_ASKED,
                now=clock.now(),
            )
            return self.show(found, status=202)  # before the commit, as a retry does

        return changed_once(
            once_of(request, tenant_id=self.token.tenant_id, path=f"/agent-task/{found}/continue"),
            task_id=found,
            change=change,
        )


class RerunView(APIBase):
    """`/agent-task/{task_id}/rerun`."""

    @describe_rerun
    def post(self, request: Request, task_id: str) -> Response:
        """Make a new task of the same submission."""
        read_body(RerunRequest, request.data)
        found = task_id_of(task_id)
        which: dict[str, Any] = {"task_id": found, "tenant_id": self.token.tenant_id}
        return submitted_once(
            once_of(request, tenant_id=self.token.tenant_id, path=f"/agent-task/{found}/rerun"),
            prepare=lambda: check_rerun(**which),
            act=lambda warning: create_rerun(**which, webhook_warning=warning, now=clock.now()),
        )
