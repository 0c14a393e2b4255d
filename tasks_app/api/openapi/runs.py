"""How cancel, retry, continue and rerun are described."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from pydantic import BaseModel

from tasks_app.api.openapi import examples
from tasks_app.api.openapi.shared import (
    ALWAYS,
    IDEMPOTENCY_KEY,
    KEY_REUSED,
    LOCATION,
    NO_SKILL_OR_TASK,
    NO_TASK,
    REQUEST_ID_HEADER,
    RETRY_AFTER,
    TASK_ID,
    TOO_MANY_PENDING,
    WITH_BODY,
    View,
    described,
    problem,
    replayed,
    task_shown,
)
from tasks_app.api.requests.changes import (
    CancelRequest,
    ContinueRequest,
    RerunRequest,
    RetryRequest,
)
from tasks_app.api.responses.tasks import SubmitResponse


def _described(
    *,
    request: type[BaseModel],
    responses: Mapping[int, OpenApiResponse],
    headers: Sequence[OpenApiParameter] = (),
    **said: Any,
) -> Callable[[View], View]:
    """Describe a POST below a task: its id and body, its key, and what may be wrong with them."""
    repeated = replayed(*(status for status in responses if status < 300))
    return described(
        {
            **said,
            "tags": ["Agent tasks"],
            "request": {"application/json": request},
            "parameters": [TASK_ID, IDEMPOTENCY_KEY, repeated, *headers, REQUEST_ID_HEADER],
            "responses": {**responses, 422: KEY_REUSED, **WITH_BODY, **ALWAYS},
        }
    )


describe_cancel = _described(
    operation_id="cancelAgentTask",
    summary="Cancel a task",
    description="Stops a task. One that waits ends at once; one that runs ends within two "
    "seconds, so poll on. It ends as INCOMPLETE with `stop_reason` `cancelled` and a report of "
    "what had been done. Asking again changes nothing.",
    request=CancelRequest,
    examples=[OpenApiExample("With a reason", value=examples.CANCEL, request_only=True)],
    responses={
        200: task_shown("It had ended before; nothing was changed.", Completed=examples.COMPLETED),
        202: task_shown(
            "It has ended now, or is about to.",
            Cancelled=examples.CANCELLED,
            Stopping=examples.STOPPING,
        ),
        404: NO_TASK,
    },
)

describe_retry = _described(
    operation_id="retryAgentTask",
    summary="Retry a task",
    description="Lets a FAILED or INCOMPLETE task go on from its last completed step, with "
    "fresh attempts and limits; limits that are not named stay as they were. The report and the "
    "error of its last run are cleared until it ends anew.",
    request=RetryRequest,
    examples=[
        OpenApiExample("Nothing to say", value={}, request_only=True),
        OpenApiExample("With more steps", value=examples.RETRY, request_only=True),
    ],
    headers=[RETRY_AFTER],
    responses={
        202: task_shown("It is queued again.", Retried=examples.RETRIED),
        404: NO_TASK,
        409: problem(
            "It has not ended, or was completed.",
            code="not_retryable",
            detail="Only a FAILED or INCOMPLETE task can be retried, not COMPLETED.",
        ),
        429: TOO_MANY_PENDING,
    },
)

describe_continue = _described(
    operation_id="continueAgentTask",
    summary="Continue a task",
    description="Lets a task that has ended go on with a further instruction, in the same "
    "session: the agent sees all that it did before. The report and the error of its last run are "
    "cleared until it ends anew; limits that are not named stay as they were.",
    request=ContinueRequest,
    examples=[OpenApiExample("A further instruction", value=examples.CONTINUE, request_only=True)],
    headers=[RETRY_AFTER],
    responses={
        202: task_shown("It is queued again.", Continued=examples.CONTINUED),
        404: NO_TASK,
        409: problem(
            "It has not ended.",
            code="not_continuable",
            detail="Only a task that has ended can be continued, not RUNNING.",
        ),
        429: TOO_MANY_PENDING,
    },
)

describe_rerun = _described(
    operation_id="rerunAgentTask",
    summary="Rerun a task",
    description="Makes a new task of all that was asked for with one that has ended, as if it "
    "were submitted again today: its skill is looked up anew, and what was not allowed since is "
    "told in the warnings or refused as a submit would be. The new task's `rerun_of` names the old "
    "one, which stays as it is.",
    request=RerunRequest,
    examples=[OpenApiExample("No more to say", value={}, request_only=True)],
    headers=[LOCATION, RETRY_AFTER],
    responses={
        202: OpenApiResponse(
            SubmitResponse,
            description="The new task is recorded.",
            examples=[OpenApiExample("Queued anew", value=examples.RERUN)],
        ),
        404: NO_SKILL_OR_TASK,
        409: problem(
            "It has not ended.",
            code="not_rerunnable",
            detail="Only a task that has ended can be run anew, not RUNNING.",
        ),
        429: TOO_MANY_PENDING,
    },
)
