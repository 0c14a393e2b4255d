"""What the API answers, as frozen values: one class for each body."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from agent_runtime.outcome import StopReason
from tasks_app.operations.submit import Submitted
from tasks_app.queries.events import EventPage, TaskEvent
from tasks_app.queries.status_line import describe_status, text
from tasks_app.queries.tasks import TaskDetail, TaskSummary
from tasks_app.states import Status

POLL_AFTER_MS = 2_000


def _whole_seconds(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.UTC).replace(microsecond=0).isoformat()


Moment = Annotated[
    datetime.datetime,
    PlainSerializer(_whole_seconds, return_type=str),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "examples": ["2026-06-18T15:00:00+00:00"]}
    ),
]


class ResponseModel(BaseModel):
    """A frozen body; its description names every key as always there."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


class SkillReference(ResponseModel):
    """The skill that a task must load, as it was resolved when the task was submitted."""

    id: uuid.UUID
    name: str
    slug: str
    source: Literal["project", "global"]


class SubmitResponse(ResponseModel):
    """What a caller gets for a new task."""

    task_id: uuid.UUID
    status: Literal["queued"] = "queued"
    model: str = Field(description="The model that will be used.")
    model_warning: str | None = Field(description="Why it is not the one that was asked for.")
    resolved_skill: SkillReference | None
    skill_warning: str | None
    webhook_warning: str | None = Field(description="What may keep the webhook from being told.")

    @classmethod
    def of(cls, task: Submitted) -> SubmitResponse:
        """Return the answer for a task just made."""
        return cls(
            task_id=task.task_id,
            model=task.model,
            model_warning=task.model_warning,
            resolved_skill=None if task.skill is None else SkillReference(**task.skill),
            skill_warning=task.skill_warning,
            webhook_warning=task.webhook_warning,
        )


class Result(ResponseModel):
    """What a task came to."""

    text: str | None = Field(description="The same text as `report`.")
    tool_calls_made: int = Field(description="Calls sent to servers, built-in tools not counted.")
    hit_iteration_limit: bool = Field(description="A limit on steps or tool calls ended it.")
    final_report_produced: bool = Field(
        description="False where the agent wrote no report and the service did instead."
    )


class Progress(ResponseModel):
    """How far a task has come."""

    steps_completed: int
    tool_calls_made: int
    current: str = Field(description="One line: what it is doing, or why it ended.")


class TaskUsage(ResponseModel):
    """What a task has used up so far, all its runs together."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    reasoning_tokens: int
    total_tokens: int
    llm_calls: int = Field(description="Steps, and calls for a summary of a long run.")
    tool_calls: int
    cost_usd: float | None = Field(description="As the provider told it; null where it did not.")

    @classmethod
    def of(cls, task: TaskSummary) -> TaskUsage:
        """Return the part of a body that shows what the task has used up."""
        return cls(
            input_tokens=task.input_tokens,
            output_tokens=task.output_tokens,
            cached_input_tokens=task.cached_input_tokens,
            reasoning_tokens=task.reasoning_tokens,
            total_tokens=task.input_tokens + task.output_tokens,
            llm_calls=task.steps_completed + task.summaries_made,
            tool_calls=task.tool_calls_made,
            cost_usd=None if task.cost_usd is None else float(task.cost_usd),
        )


class TaskLimits(ResponseModel):
    """What each run of a task may use up; null where nothing limits it."""

    max_steps: int
    max_tool_calls: int | None
    max_tokens: int | None = None
    max_cost_usd: float | None = None
    timeout_seconds: float


class AuthenticationNeeded(ResponseModel):
    """A server that the end user has to connect before the agent can use it."""

    server: str
    link: str | None = Field(
        description="Where that user connects it, for 24 hours. For that person alone: pass it on "
        "by a way that reaches nobody else. Null where an administrator has to connect it."
    )


class TaskResponse(ResponseModel):
    """A task as its submitter sees it."""

    task_id: uuid.UUID
    session_id: uuid.UUID
    status: Status
    terminal: bool = Field(description="True for COMPLETED, INCOMPLETE and FAILED: stop polling.")
    stop_reason: StopReason | None
    report: str | None = Field(
        description="The agent's final report; where it wrote none, the service's account of what "
        "was done. Null until the end, and for a task that FAILED before its first step."
    )
    result: Result | None
    error: str | None = Field(description="One sentence, where the task FAILED.")
    model: str
    skill: SkillReference | None
    user_email: str
    metadata: dict[str, str]
    limits: TaskLimits = Field(description="Of the current run: what was asked for, capped.")
    rerun_of: uuid.UUID | None = Field(description="The task of which this one is a rerun.")
    progress: Progress
    usage: TaskUsage
    attempt: int = Field(description="Failed tries at the next step.")
    next_attempt_at: Moment | None = Field(description="When the next try is due, while waiting.")
    cancel_requested_at: Moment | None
    authentication_needed: list[AuthenticationNeeded]
    poll_after_ms: int | None = Field(description="A polite pause; null when it has ended.")
    created_at: Moment
    started_at: Moment | None
    completed_at: Moment | None

    @classmethod
    def of(cls, task: TaskDetail, *, links: Mapping[str, str]) -> TaskResponse:
        """Return the body that shows the task, with the `links` of its run by server."""
        waiting = task.status is Status.PENDING and (task.attempt > 0 or task.awaits_connection)
        ended = task.status.terminal
        skill = task.required_skill
        return cls(
            task_id=task.id,
            session_id=task.session_id,
            status=task.status,
            terminal=ended,
            stop_reason=task.stop_reason,
            report=task.report,
            result=_result(task) if ended else None,
            error=task.error,
            model=task.model,
            skill=None if skill is None else SkillReference.model_validate(skill),
            user_email=task.user_email,
            metadata=dict(task.metadata),
            limits=TaskLimits.model_validate(task.limits),
            rerun_of=task.rerun_of_id,
            progress=Progress(
                steps_completed=task.steps_completed,
                tool_calls_made=task.tool_calls_made,
                current=text(describe_status(task)),
            ),
            usage=TaskUsage.of(task),
            attempt=task.attempt,
            next_attempt_at=task.next_attempt_at if waiting else None,
            cancel_requested_at=task.cancel_requested_at,
            authentication_needed=[
                AuthenticationNeeded(server=name, link=links.get(name))
                for name in task.authentication_needed
            ],
            poll_after_ms=None if ended else POLL_AFTER_MS,
            created_at=task.created_at,
            started_at=task.started_at,
            completed_at=task.completed_at,
        )


def _result(task: TaskDetail) -> Result:
    return Result(
        text=task.report,
        tool_calls_made=task.tool_calls_made,
        hit_iteration_limit=task.stop_reason in (StopReason.MAX_STEPS, StopReason.MAX_TOOL_CALLS),
        final_report_produced=bool(task.final_report_produced),
    )


class EventResponse(ResponseModel):
    """One thing that happened to a task."""

    id: int = Field(description="Rises within the task; numbers may be missing.")
    type: str = Field(description="Ignore the types that you do not know.")
    created_at: Moment
    data: dict[str, Any]

    @classmethod
    def of(cls, event: TaskEvent) -> EventResponse:
        """Return the body that shows the event."""
        return cls(id=event.sequence, type=event.type, created_at=event.at, data=event.data)


class EventsResponse(ResponseModel):
    """A page of a task's events, oldest first."""

    task_id: uuid.UUID
    status: Status
    terminal: bool
    events: list[EventResponse]
    next_starting_after: int | None = Field(
        description="Send it as `starting_after` to go on from here; null before the first event."
    )
    has_more: bool = Field(description="There are more events now.")

    @classmethod
    def of(cls, page: EventPage, *, task_id: uuid.UUID, after: int | None) -> EventsResponse:
        """Return the body that shows what came after `after`."""
        return cls(
            task_id=task_id,
            status=page.status,
            terminal=page.status.terminal,
            events=[EventResponse.of(each) for each in page.events],
            next_starting_after=page.events[-1].sequence if page.events else after,
            has_more=page.has_more,
        )


class FieldProblem(ResponseModel):
    """What is wrong with one field."""

    field: str
    code: str
    message: str


class ProblemResponse(BaseModel):
    """The shape of every error."""

    model_config = ConfigDict(frozen=True)

    detail: str = Field(description="One sentence for people.")
    code: str = Field(description="One word for programs.")
    request_id: str = Field(description="Also in `X-Request-Id`; name it when you ask for help.")
    errors: list[FieldProblem] = Field(
        default=[], description="The fields that are wrong, where it is about fields."
    )
