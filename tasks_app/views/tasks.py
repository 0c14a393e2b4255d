"""Submit and poll."""

from __future__ import annotations

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from caylex_project.accounts.keys import find_navigator_key
from caylex_project.accounts.models import Navigator, PlatformToken
from tasks_app.answers import SubmitAnswer
from tasks_app.openapi.tasks import describe_poll, describe_submit
from tasks_app.operations.submit import SkillNotFound, submit
from tasks_app.problems import Problem
from tasks_app.serializers import SubmitRequest, read_body
from tasks_app.views.base import BASE, APIBase, task_id_of


class SubmitView(APIBase):
    """`/agent-task`."""

    @describe_submit
    def post(self, request: Request) -> Response:
        """Make a task and answer 202 when it is committed."""
        body = read_body(SubmitRequest, request.data)
        navigator = _navigator_for(body, token=self.token)
        try:
            task = submit(navigator=navigator, submission=body.submission(), now=timezone.now())
        except SkillNotFound:
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
        return self.show(task_id_of(task_id))


def _navigator_for(body: SubmitRequest, *, token: PlatformToken) -> Navigator:
    """Return the navigator whose key the body holds. Raises Problem 403."""
    key = find_navigator_key(body.caylex_api_key, tenant=token.tenant, now=timezone.now())
    if key is None:
        raise Problem(status=403, code="invalid_api_key", detail="The caylex_api_key is not valid.")
    return key.navigator
