"""Who is told of a task's end: one outbox row for each, in the commit of the end itself.

Told are the task's own webhook and the project's enabled endpoints that want the event. The
task's own takes the place of an endpoint with the same address. The journal's statement for
PostgreSQL says the same in SQL (`ENQUEUE_SQL`); one test holds the two together. That a user has to
connect something is told to those alone who name that event.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import Any

from tasks_app.models import AgentTask, WebhookDelivery, WebhookEndpoint
from tasks_app.states import Status

EVENTS = {  # by the status that a task ended with
    Status.COMPLETED: "agent_task.completed",
    Status.INCOMPLETE: "agent_task.incomplete",
    Status.FAILED: "agent_task.failed",
}
AUTHENTICATION_NEEDED = "agent_task.authentication_needed"
MAX_REPORT = 20_000  # characters that a row keeps; what is sent is cut to bytes

# A part of the journal's statement, behind its `committed`: the tasks as they stand after it.
ENQUEUE_SQL = """
, told AS (
  INSERT INTO tasks_app_webhookdelivery
    (id, task_id, project_id, endpoint_id, url, origin, event, data, state, attempts,
     next_attempt_at, last_error, created_at)
  SELECT gen_random_uuid(), t.id, t.project_id, a.endpoint_id, a.url, '', a.event,
    jsonb_build_object(
      'task_id', t.id, 'session_id', t.session_id, 'status', t.status,
      'stop_reason', t.stop_reason, 'report', left(t.report, 20000),
      'report_truncated', COALESCE(length(t.report) > 20000, false), 'error', t.error,
      'user_email', u.email, 'metadata', t.metadata, 'created_at', t.created_at,
      'started_at', t.started_at, 'completed_at', t.completed_at),
    'waiting', 0, t.completed_at, '', t.completed_at
  FROM committed t
  JOIN accounts_enduser u ON u.id = t.end_user_id
  CROSS JOIN LATERAL (
    SELECT NULL::uuid AS endpoint_id, t.webhook->>'url' AS url, t.webhook->'events' AS events,
           'agent_task.' || lower(t.status) AS event
    WHERE t.webhook IS NOT NULL
    UNION ALL
    SELECT e.id, e.url, e.events, 'agent_task.' || lower(t.status)
    FROM tasks_app_webhookendpoint e
    WHERE e.project_id = t.project_id AND e.disabled_at IS NULL
      AND e.url IS DISTINCT FROM t.webhook->>'url'
  ) a
  WHERE t.completed_at IS NOT NULL AND (a.events = '[]' OR a.events ? a.event)
)
"""


def enqueue_deliveries(task: AgentTask) -> None:
    """Write the outbox rows of a task that has just ended, in the caller's transaction."""
    assert task.completed_at is not None
    event = EVENTS[Status(task.status)]
    told = [
        (endpoint, url)
        for endpoint, url, events in _listeners(task)
        if not events or event in events
    ]
    _write(task, told, event=event, data=_data(task), now=task.completed_at)


def tell_authentication_needed(task: AgentTask, *, now: datetime.datetime) -> None:
    """Write the outbox rows that say which servers a task's user has to connect."""
    event = AUTHENTICATION_NEEDED
    told = [(endpoint, url) for endpoint, url, events in _listeners(task) if event in events]
    data = {**_data(task), "stop_reason": None, "authentication_needed": task.authentication_needed}
    _write(task, told, event=event, data=data, now=now)


def _write(
    task: AgentTask,
    told: Sequence[tuple[WebhookEndpoint | None, str]],
    *,
    event: str,
    data: dict[str, Any],
    now: datetime.datetime,
) -> None:
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(
            task=task,
            project_id=task.project_id,
            endpoint=endpoint,
            url=url,
            event=event,
            data=data,
            next_attempt_at=now,
            created_at=now,
        )
        for endpoint, url in told
    )


def _listeners(task: AgentTask) -> Iterator[tuple[WebhookEndpoint | None, str, list[str]]]:
    own = task.webhook or {}
    if own:
        yield None, own["url"], own["events"]
    enabled = WebhookEndpoint.objects.filter(project=task.project_id, disabled_at__isnull=True)
    for each in enabled.exclude(url=own.get("url", "")):
        yield each, each.url, each.events


def _data(task: AgentTask) -> dict[str, Any]:
    """Return how the task stands, as a delivery's row keeps it."""
    report = task.report
    times = {
        name: moment.isoformat() if (moment := getattr(task, name)) else None
        for name in ("created_at", "started_at", "completed_at")
    }
    return {
        "task_id": str(task.id),
        "session_id": str(task.session_id),
        "status": str(task.status),
        "stop_reason": task.stop_reason,
        "report": None if report is None else report[:MAX_REPORT],
        "report_truncated": report is not None and len(report) > MAX_REPORT,
        "error": task.error,
        "user_email": task.end_user.email,
        "metadata": task.metadata,
        **times,
    }
