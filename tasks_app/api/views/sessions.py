"""What was said and done in a session."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api.errors import BadFields, FieldError, Problem
from tasks_app.api.openapi.sessions import describe_trace, describe_transcript
from tasks_app.api.query_params import uuid_of, whole_number
from tasks_app.api.responses.sessions import TraceResponse, TranscriptResponse
from tasks_app.api.views.base import APIBase, task_id_of, task_not_found
from tasks_app.queries.trace import read_trace
from tasks_app.queries.transcript import TranscriptCursor, read_transcript

DEFAULT_LIMIT = 50
MAX_PAGE_SIZE = 100
MAX_OFFSET = 1_000_000


class TranscriptView(APIBase):
    """`/agent-task/{task_id}/transcript`."""

    @describe_transcript
    def get(self, request: Request, task_id: str) -> Response:
        """Show a page of messages."""
        found = task_id_of(task_id)
        limit = whole_number(request, "limit", least=1, most=MAX_PAGE_SIZE)
        page = read_transcript(
            task_id=found,
            tenant_id=self.token.tenant_id,
            place=_place(request),
            limit=limit or DEFAULT_LIMIT,
        )
        if page is None:
            raise task_not_found()
        return Response(TranscriptResponse.of(page, task_id=found).model_dump(mode="json"))


class TraceView(APIBase):
    """`/queries/query-logs/{session_id}/trace`."""

    @describe_trace
    def get(self, request: Request, session_id: str) -> Response:
        """Show a page of tool calls, a group for each step."""
        offset = whole_number(request, "offset", least=0, most=MAX_OFFSET) or 0
        limit = whole_number(request, "limit", least=1, most=MAX_PAGE_SIZE) or DEFAULT_LIMIT
        found = uuid_of(session_id)
        page = None
        if found is not None:
            page = read_trace(
                session_id=found, tenant_id=self.token.tenant_id, offset=offset, limit=limit
            )
        if page is None:
            raise Problem(status=404, code="session_not_found", detail="There is no such session.")
        return Response(TraceResponse.of(page, offset=offset, limit=limit).model_dump(mode="json"))


def _place(request: Request) -> TranscriptCursor:
    """Return where the page begins. Raises BadFields, status 400."""
    cursor = request.query_params.get("cursor")
    place = TranscriptCursor.decode(cursor) if cursor else TranscriptCursor()
    if place is None:
        message = "Send the next_cursor of a page of this transcript."
        raise BadFields([FieldError(field="cursor", code="invalid_parameter", message=message)])
    return place
