"""What a list of tasks answers."""

from __future__ import annotations

import uuid

from pydantic import Field

from agent_runtime.outcome import StopReason
from tasks_app.api.responses.tasks import Moment, ResponseModel, SkillReference, TaskUsage
from tasks_app.queries.task_list import TaskPage, encode_cursor
from tasks_app.queries.tasks import TaskSummary
from tasks_app.states import Status


class TaskItem(ResponseModel):
    """A task in a list: the short part of what a poll shows."""

    task_id: uuid.UUID
    session_id: uuid.UUID
    project_id: uuid.UUID
    status: Status
    terminal: bool
    stop_reason: StopReason | None
    error: str | None
    model: str
    skill: SkillReference | None
    user_email: str
    metadata: dict[str, str]
    usage: TaskUsage
    cancel_requested_at: Moment | None
    created_at: Moment
    started_at: Moment | None
    completed_at: Moment | None

    @classmethod
    def of(cls, task: TaskSummary) -> TaskItem:
        """Return the item that shows the task."""
        skill = task.required_skill
        return cls(
            task_id=task.id,
            session_id=task.session_id,
            project_id=task.project_id,
            status=task.status,
            terminal=task.status.terminal,
            stop_reason=task.stop_reason,
            error=task.error,
            model=task.model,
            skill=None if skill is None else SkillReference.model_validate(skill),
            user_email=task.user_email,
            metadata=dict(task.metadata),
            usage=TaskUsage.of(task),
            cancel_requested_at=task.cancel_requested_at,
            created_at=task.created_at,
            started_at=task.started_at,
            completed_at=task.completed_at,
        )


class ListMeta(ResponseModel):
    """Where a page stands in its list."""

    size: int = Field(description="How many tasks a page has at most.")
    total: int | None = Field(description="How many there are, null beyond 1,000.")
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page.")
    has_next: bool
    has_prev: bool


class TasksResponse(ResponseModel):
    """A page of tasks, the newest first."""

    items: list[TaskItem]
    meta: ListMeta

    @classmethod
    def of(cls, page: TaskPage, *, size: int, first: bool) -> TasksResponse:
        """Return the body that shows the page; `first` says that none comes before it."""
        place = page.next_cursor
        return cls(
            items=[TaskItem.of(each) for each in page.tasks],
            meta=ListMeta(
                size=size,
                total=page.total,
                next_cursor=None if place is None else encode_cursor(place),
                has_next=place is not None,
                has_prev=not first,
            ),
        )
