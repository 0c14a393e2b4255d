"""What the endpoints share."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from caylex_project.accounts.models import PlatformToken
from caylex_project.db.clock import clock
from caylex_project.integrations.links import links_of_task
from tasks_app.api.errors import Problem
from tasks_app.api.query_params import refuse_nul, uuid_of
from tasks_app.api.responses.tasks import TaskResponse
from tasks_app.queries import tasks

BASE = "/api/v1"
VERSION_HEADER = "X-Task-Version"  # for the layer that waits for changes: it goes no further


class APIBase(APIView):
    """What all endpoints share: they know the methods that they define, and no other."""

    http_method_names = ["get", "head", "post", "put", "patch", "delete"]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Look who asks, and only then at what."""
        super().initial(request, *args, **kwargs)
        refuse_nul(request)

    @property
    def token(self) -> PlatformToken:
        """The token of this request; authentication has let no request in without one."""
        token = self.request.auth
        assert isinstance(token, PlatformToken)
        return token

    def show(self, task_id: uuid.UUID, *, status: int = 200) -> Response:
        """Answer with the task. Raises Problem 404 where the caller's tenant has none such."""
        return Response(self.answer(self.find(task_id)).model_dump(mode="json"), status=status)

    def answer(self, task: tasks.TaskDetail) -> TaskResponse:
        """Return the body that shows the task to its submitter."""
        links: dict[str, str] = {}
        if task.authentication_needed:
            links = links_of_task(
                task_id=task.id,
                run_number=task.run_number,
                public_url=settings.ENVIRONMENT.caylex_public_url,
                now=clock.now(),
            )
        return TaskResponse.of(task, links=links)

    def find(self, task_id: uuid.UUID) -> tasks.TaskDetail:
        """Return the task. Raises Problem 404 where the caller's tenant has none such."""
        task = tasks.find_task(task_id=task_id, tenant_id=self.token.tenant_id)
        if task is None:
            raise task_not_found()
        return task


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


def task_id_of(text: str) -> uuid.UUID:
    """Return the id. Raises Problem 404 where it is no UUID: no such task can exist."""
    found = uuid_of(text)
    if found is None:
        raise task_not_found()
    return found


def task_not_found() -> Problem:
    return Problem(status=404, code="task_not_found", detail="There is no such task.")
