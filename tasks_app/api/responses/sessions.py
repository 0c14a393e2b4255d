"""What the API answers about a session: its transcript and its trace."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from pydantic import Field

from agent_runtime.messages import CallState
from tasks_app.api.errors import Problem
from tasks_app.api.json_parser import read_object
from tasks_app.api.responses.tasks import Moment, ResponseModel
from tasks_app.models import ToolCall
from tasks_app.queries.trace import CallGroup, TracePage
from tasks_app.queries.transcript import MessageType, TranscriptMessage, TranscriptPage
from tasks_app.states import Status


class TextPart(ResponseModel):
    """A message's words."""

    type: Literal["text"] = "text"
    text: str


class MessageResponse(ResponseModel):
    """One message of a transcript."""

    id: uuid.UUID
    sequence_number: int = Field(description="From 1, without a gap.")
    role: Literal["user", "assistant", "tool"]
    message_type: MessageType = Field(
        description="`runtime_note` is the service's own word in the role of the user."
    )
    content: list[TextPart]
    created_at: Moment

    @classmethod
    def of(cls, said: TranscriptMessage, *, number: int) -> MessageResponse:
        """Return the body that shows the message."""
        return cls.model_validate(
            {
                "id": said.id,
                "sequence_number": number,
                "role": said.role,
                "message_type": said.type,
                "content": [{"text": said.text}],
                "created_at": said.at,
            }
        )


class TranscriptResponse(ResponseModel):
    """A page of a task's transcript."""

    task_id: uuid.UUID
    status: Status
    messages: list[MessageResponse]
    next_cursor: str | None = Field(
        description="Send it as `cursor` for the next page; null while there is none."
    )
    has_more: bool = Field(description="There are more messages now.")

    @classmethod
    def of(cls, page: TranscriptPage, *, task_id: uuid.UUID) -> TranscriptResponse:
        """Return the body that shows the page."""
        return cls(
            task_id=task_id,
            status=page.status,
            messages=[
                MessageResponse.of(said, number=number)
                for number, said in enumerate(page.messages, start=page.place.messages_before + 1)
            ],
            next_cursor=page.next.cursor if page.next else None,
            has_more=page.next is not None,
        )


class ResultData(ResponseModel):
    """What a tool call came to."""

    status: CallState
    text: str | None = Field(description="What the model was told; null until the call has ended.")


class ServerName(ResponseModel):
    """The server that a tool belongs to."""

    name: str = Field(description="Empty for a built-in tool.")


class ToolName(ResponseModel):
    """The tool that was called."""

    name: str
    server: ServerName


class TraceCall(ResponseModel):
    """One tool call."""

    id: uuid.UUID
    success: bool | None = Field(description="Null until the call has ended.")
    parameters: dict[str, Any] | str = Field(
        description="The JSON object that the model sent, or its text where it is none."
    )
    result_data: ResultData
    tool: ToolName

    @classmethod
    def of(cls, call: ToolCall) -> TraceCall:
        """Return the body that shows the call."""
        state = CallState(call.state)
        return cls(
            id=call.pk,
            success=state is CallState.SUCCEEDED if state.ended else None,
            parameters=_parsed(call.arguments),
            result_data=ResultData(status=state, text=call.result),
            tool=ToolName(name=call.tool or call.name, server=ServerName(name=call.server)),
        )


class TraceGroup(ResponseModel):
    """The calls that one step asked for, to run in parallel."""

    id: uuid.UUID
    tool_calls: list[TraceCall]

    @classmethod
    def of(cls, group: CallGroup) -> TraceGroup:
        """Return the body that shows the group."""
        return cls(id=group.id, tool_calls=[TraceCall.of(call) for call in group.calls])


class TraceMeta(ResponseModel):
    """Which part of a trace it is."""

    total_groups: int
    offset: int
    limit: int
    has_next: bool


class TraceResponse(ResponseModel):
    """A page of a session's trace."""

    tool_call_groups: list[TraceGroup]
    meta: TraceMeta

    @classmethod
    def of(cls, page: TracePage, *, offset: int, limit: int) -> TraceResponse:
        """Return the body that shows the page."""
        return cls(
            tool_call_groups=[TraceGroup.of(group) for group in page.groups],
            meta=TraceMeta(
                total_groups=page.total,
                offset=offset,
                limit=limit,
                has_next=offset + len(page.groups) < page.total and bool(page.groups),
            ),
        )


def _parsed(text: str) -> dict[str, Any] | str:
    """Return the JSON object that the text holds, or the text where it holds none to send on."""
    try:
        return read_object(text.encode())
    except Problem:
        return text
