"""Requests with an `Idempotency-Key`: carried out once, answered alike."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable

from rest_framework.request import Request
from rest_framework.response import Response

from caylex_project.accounts.models import Navigator
from caylex_project.db.clock import clock
from tasks_app.api.errors import Problem
from tasks_app.api.operation_errors import operation_errors_as_problems
from tasks_app.api.responses.tasks import SubmitResponse
from tasks_app.api.views.base import BASE
from tasks_app.operations.idempotency import IdempotencyToken, Prepared, Said, act_once, fingerprint
from tasks_app.operations.submit import Submitted

REPLAYED = {"Idempotent-Replayed": "true"}
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,255}")


def key_of(request: Request) -> str | None:
    """Return the caller's key, None where there is none. Raises Problem 400."""
    key: str | None = request.headers.get("Idempotency-Key")
    if key is not None and not _PRINTABLE.fullmatch(key):
        raise Problem(
            status=400,
            code="invalid_idempotency_key",
            detail="An Idempotency-Key has 1 to 255 printable ASCII characters.",
        )
    return key


def once_of(
    request: Request, *, tenant_id: uuid.UUID, path: str, navigator: Navigator | None = None
) -> IdempotencyToken | None:
    """Return what the caller's key stands for, None where there is none. Raises Problem 400."""
    key = key_of(request)
    if key is None:
        return None
    said = fingerprint(dict(request.data), navigator=navigator)
    return IdempotencyToken(tenant_id=tenant_id, path=path, key=key, fingerprint=said)


def submitted_once(
    once: IdempotencyToken | None,
    *,
    prepare: Callable[[], Prepared],
    act: Callable[[Prepared], Submitted],
) -> Response:
    """Answer 202 with the new task, or with that of the same request before."""

    def make(prepared: Prepared) -> Said:
        task = act(prepared)
        return Said(task_id=task.task_id, answer=task.as_json())

    with operation_errors_as_problems():
        kept, replayed = act_once(once=once, prepare=prepare, act=make, now=clock.now())
    task = Submitted.of(kept)
    headers = {"Location": f"{BASE}/agent-task/{task.task_id}", **(REPLAYED if replayed else {})}
    return Response(SubmitResponse.of(task).model_dump(mode="json"), status=202, headers=headers)


def changed_once(
    once: IdempotencyToken | None, *, task_id: uuid.UUID, change: Callable[[], Response]
) -> Response:
    """Answer as `change` does, which changes a task, or as it did to the same request before."""

    def act(_: None) -> Said:
        answer = change()
        body = json.dumps(answer.data)  # as a text, for JSON in a row may lose its order
        return Said(task_id=task_id, answer={"status": answer.status_code, "body": body})

    with operation_errors_as_problems():
        kept, replayed = act_once(once=once, prepare=lambda: None, act=act, now=clock.now())
    headers = REPLAYED if replayed else {}
    return Response(json.loads(kept["body"]), status=kept["status"], headers=headers)
