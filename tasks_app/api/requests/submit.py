"""A new task."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from caylex_project.accounts.end_users import MAX_LENGTH
from caylex_project.accounts.limits import whole
from caylex_project.integrations.webhook_validation import WebhookEvent
from tasks_app.api.requests.fields import (
    NO_NUL,
    Instruction,
    Limits,
    Pairs,
    Text,
    email_address,
    pairs_schema,
    supported,
)
from tasks_app.operations.limits import NONE_ASKED
from tasks_app.operations.submit import Submission
from tasks_app.operations.webhooks import TaskWebhook
from tasks_app.states import PRIORITIES, OnAuthentication

MAX_EVENTS = 10  # named for one webhook; there are three, and doubles do no harm


class WebhookRequest(BaseModel):
    """An address that is told when the task has ended."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    url: str = Field(
        min_length=1,
        max_length=2_000,
        json_schema_extra={"format": "uri"},
        description="`http` or `https`, port 80, 443 or 1024 up, at a public address.",
        examples=["https://example.com/hooks/agent-tasks"],
    )
    events: Annotated[list[WebhookEvent] | None, Field(max_length=MAX_EVENTS, fail_fast=True)] = (
        Field(default=None, description="The endings to be told of; all unless given.")
    )

    def webhook(self) -> TaskWebhook:
        """Return the value that the operation takes."""
        return TaskWebhook(url=self.url, events=self.events or ())


class SubmitRequest(BaseModel):
    """A new task. Null stands for absent in every optional field."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    caylex_api_key: str = Field(
        min_length=1,
        json_schema_extra=NO_NUL,
        repr=False,
        description="API key of the navigator that runs the task, `ck_{id}.{secret}`.",
        examples=["ck_your_navigator_api_key"],
    )
    user_email: Annotated[
        str,
        Field(
            max_length=MAX_LENGTH,
            description="The end user as whom the task runs. Compared without regard to case, "
            "made on first use. Plain ASCII.",
            json_schema_extra={"format": "email"},
            examples=["jane@example.com"],
        ),
        AfterValidator(email_address),
    ]
    prompt: Instruction = Field(
        description="What the agent is to do. Not blank.",
        examples=["Count last week's tickets by area and name the three largest."],
    )
    skill_ref: Text | None = Field(
        default=None,
        description="Name (any case) or slug of a skill that the agent must load first.",
        examples=["weekly-report"],
    )
    model: Text | None = Field(
        default=None,
        description="Id of the model to use. One that is not allowed is no error: see "
        "`model_warning` in the answer.",
        examples=["anthropic/claude-opus-4.8"],
    )
    metadata: Annotated[Pairs | None, WithJsonSchema(pairs_schema(of=["string"], or_null=True))] = (
        Field(
            default=None,
            description="Pairs of your own, shown in every answer and to list tasks by.",
            examples=[{"order": "17"}],
        )
    )
    limits: Limits = None
    webhook: WebhookRequest | None = None
    priority: Annotated[int, Field(ge=0, le=PRIORITIES[-1]), BeforeValidator(whole)] | None = Field(
        default=None,
        description="0, the default, to 9: the higher goes first within its project.",
    )
    on_authentication: Literal["continue", "wait"] | None = Field(
        default=None,
        description="What the run does where the end user has to connect a server first. "
        "`continue`, the default: it works without the server and says so. `wait`: it waits for "
        "the connection, up to seven days, and then works without. See `authentication_needed`.",
    )
    approval_mode: Annotated[
        str | None,
        AfterValidator(supported),
        WithJsonSchema({"type": ["string", "null"], "enum": ["exclude", None]}),
    ] = Field(
        default=None,
        description="`exclude`: the agent is not shown tools that need a person's approval. "
        "No other mode is supported yet.",
    )
    background_agent_auto_approve_tools: Annotated[
        bool | None,
        AfterValidator(supported),
        WithJsonSchema({"anyOf": [{"type": "boolean", "const": False}, {"type": "null"}]}),
    ] = Field(
        default=None,
        description="Only `false`, the older name of `approval_mode: exclude`. `true` is not "
        "supported yet.",
    )

    def submission(self) -> Submission:
        """Return the part that the operation takes."""
        return Submission(
            user_email=self.user_email,
            prompt=self.prompt,
            skill_ref=self.skill_ref,
            model=self.model,
            metadata=self.metadata or {},
            limits=self.limits or NONE_ASKED,
            webhook=None if self.webhook is None else self.webhook.webhook(),
            priority=self.priority or 0,
            on_authentication=OnAuthentication(self.on_authentication or "continue"),
        )
