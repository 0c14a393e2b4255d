"""What happened to a task."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api.openapi.events import describe_events
from tasks_app.api.query_params import whole_number
from tasks_app.api.responses.tasks import EventsResponse
from tasks_app.api.views.base import VERSION_HEADER, APIBase, task_id_of, task_not_found
from tasks_app.queries.events import read_events

DEFAULT_LIMIT = 100
MAX_EVENTS = 500  # in one page
MAX_NUMBER = 2_147_483_647  # what the columns hold


class EventsView(APIBase):
    """`/agent-task/{task_id}/events`."""

    @describe_events
    def get(self, request: Request, task_id: str) -> Response:
        """Show a page of events."""
        found = task_id_of(task_id)
        after = whole_number(request, "starting_after", least=0, most=MAX_NUMBER)
        limit = whole_number(request, "limit", least=1, most=MAX_EVENTS)
        page = read_events(
            task_id=found,
            tenant_id=self.token.tenant_id,
            after=after,
            limit=limit or DEFAULT_LIMIT,
        )
        if page is None:
            raise task_not_found()
        answer = EventsResponse.of(page, task_id=found, after=after)
        return Response(answer.model_dump(mode="json"), headers={VERSION_HEADER: page.version})
