"""The journal's one write: a batch of entries, each fenced on its own.

Hand-written SQL, because this is where a worker spends its time. PostgreSQL takes the whole
batch in one statement; SQLite takes it in one immediate transaction. The statement finds each task
by its id, whatever the statistics say: it judges the state by what it locked, so that no plan goes
through all that run.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.utils.dateparse import parse_datetime

from tasks_app.models import AgentTask, ContextSummary, Event, Step, ToolCall, WholeResult
from tasks_app.models.tasks import FIRST_SCHEMA
from tasks_app.states import Status
from tasks_app.webhooks.outbox import ENQUEUE_SQL, enqueue_deliveries
from tasks_app.worker.journal.connection_requests import ask_to_connect
from tasks_app.worker.journal.entries import Entry, Landed, Stopped
from tasks_app.worker.journal.rows import Row, Rows, rows_of

# What SQLite's way sets to the entry's value, and adds the entry's value to.
_SET = (
    "attempt",
    "waiting_reason",
    "stop_reason",
    "report",
    "final_report_produced",
    "error",
    "completed_at",
)
_ADD = ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens")

# Whether a task's project, tenant or end user was paused or disabled.
_RESTS = """EXISTS (
  SELECT 1 FROM accounts_project p JOIN accounts_tenant n ON n.id = p.tenant_id
  JOIN accounts_enduser u ON u.id = {task}.end_user_id
  WHERE p.id = {task}.project_id AND (
    p.paused OR n.paused OR p.disabled_at IS NOT NULL OR n.disabled_at IS NOT NULL
    OR u.disabled_at IS NOT NULL))"""

_WRITE = """
WITH input AS (
  SELECT * FROM jsonb_to_recordset(%(tasks)s::jsonb) AS x (
    id uuid, epoch int, sequence int, new_sequence int, starts bool, new_status text, released bool,
    attempt int, progress bool, next_attempt_at timestamptz, waiting_reason text,
    schema_version int, steps int, summaries int, tool_calls int,
    input_tokens bigint, output_tokens bigint, cached_input_tokens bigint,
    reasoning_tokens bigint, cost_usd numeric,
    authentication_needed jsonb, connection_wait_until timestamptz, stop_reason text, report text,
    final_report_produced bool, error text, completed_at timestamptz)
), locked AS (
  SELECT own.* FROM (SELECT id, starts FROM input ORDER BY id) i CROSS JOIN LATERAL (
    SELECT t.id, t.epoch, t.sequence, t.status, t.cancel_requested_at, t.cancel_reason,
      i.starts AND (t.cancel_requested_at IS NOT NULL OR {rests}) AS stopped
    FROM tasks_app_agenttask t WHERE t.id = i.id FOR NO KEY UPDATE OF t
  ) own
), committed AS (
  UPDATE tasks_app_agenttask t SET
    sequence = i.new_sequence,
    status = i.new_status,
    worker_id = CASE WHEN i.released THEN NULL ELSE t.worker_id END,
    epoch = t.epoch + CASE WHEN i.released THEN 1 ELSE 0 END,
    attempt = i.attempt,
    crashes = CASE WHEN i.progress THEN 0 ELSE t.crashes END,
    next_attempt_at = COALESCE(i.next_attempt_at, t.next_attempt_at),
    waiting_reason = i.waiting_reason,
    schema_version = GREATEST(t.schema_version, i.schema_version),
    steps_completed = t.steps_completed + i.steps,
    summaries_made = t.summaries_made + i.summaries,
    tool_calls_made = t.tool_calls_made + i.tool_calls,
    input_tokens = t.input_tokens + i.input_tokens,
    output_tokens = t.output_tokens + i.output_tokens,
    cached_input_tokens = t.cached_input_tokens + i.cached_input_tokens,
    reasoning_tokens = t.reasoning_tokens + i.reasoning_tokens,
    cost_usd = CASE WHEN i.cost_usd IS NULL THEN t.cost_usd
                    ELSE COALESCE(t.cost_usd, 0) + i.cost_usd END,
    authentication_needed = COALESCE(i.authentication_needed, t.authentication_needed),
    connection_wait_until = COALESCE(i.connection_wait_until, t.connection_wait_until),
    started_at = CASE WHEN i.connection_wait_until IS NULL THEN t.started_at END,
    stop_reason = i.stop_reason,
    report = i.report,
    final_report_produced = i.final_report_produced,
    error = i.error,
    completed_at = i.completed_at
  FROM input i JOIN locked l ON l.id = i.id
  WHERE t.id = l.id AND l.epoch = i.epoch AND l.sequence = i.sequence AND l.status = 'RUNNING'
    AND NOT l.stopped
  RETURNING t.*
), new_steps AS (
  INSERT INTO tasks_app_step
    (id, task_id, run_number, index, epoch, sequence, schema_version, request, response,
     finish_reason, model, provider_request_id, usage, started_at, completed_at)
  SELECT s.* FROM jsonb_to_recordset(%(steps)s::jsonb) AS s (
    id uuid, task_id uuid, run_number int, index int, epoch int, sequence int,
    schema_version int, request jsonb, response jsonb, finish_reason text, model text,
    provider_request_id text, usage jsonb, started_at timestamptz, completed_at timestamptz)
  JOIN committed ON committed.id = s.task_id
), new_calls AS (
  INSERT INTO tasks_app_toolcall
    (id, step_id, index, call_id, name, server, tool, arguments, repeatable, refused, state,
     result, started_at, completed_at, started_sequence, completed_sequence)
  SELECT c.id, c.step_id, c.index, c.call_id, c.name, c.server, c.tool, c.arguments,
         c.repeatable, c.refused, c.state, c.result, c.started_at, c.completed_at,
         c.started_sequence, c.completed_sequence
  FROM jsonb_to_recordset(%(calls)s::jsonb) AS c (
    id uuid, task_id uuid, step_id uuid, index int, call_id text, name text, server text,
    tool text, arguments text, repeatable bool, refused bool, state text, result text,
    started_at timestamptz, completed_at timestamptz, started_sequence int,
    completed_sequence int)
  JOIN committed ON committed.id = c.task_id
), changed_calls AS (
  UPDATE tasks_app_toolcall t SET
    state = c.state, result = c.result, result_size = c.result_size,
    started_at = COALESCE(c.started_at, t.started_at),
    started_sequence = COALESCE(c.started_sequence, t.started_sequence),
    completed_at = c.completed_at, completed_sequence = c.completed_sequence
  FROM jsonb_to_recordset(%(changes)s::jsonb) AS c (
    id uuid, task_id uuid, state text, result text, result_size int, started_at timestamptz,
    completed_at timestamptz, started_sequence int, completed_sequence int)
  JOIN committed ON committed.id = c.task_id
  WHERE t.id = c.id
), new_events AS (
  INSERT INTO tasks_app_event (task_id, sequence, kind, data, at)
  SELECT e.* FROM jsonb_to_recordset(%(events)s::jsonb) AS e (
    task_id uuid, sequence int, kind text, data jsonb, at timestamptz)
  JOIN committed ON committed.id = e.task_id
)
""".replace("{rests}", _RESTS.format(task="t"))
_WHOLES = """
, new_wholes AS (
  INSERT INTO tasks_app_wholeresult (call_id, text, complete)
  SELECT w.call_id, w.text, w.complete FROM jsonb_to_recordset(%(wholes)s::jsonb) AS w (
    call_id uuid, task_id uuid, text text, complete bool)
  JOIN committed ON committed.id = w.task_id
)
"""
_SUMMARIES = """
, new_summaries AS (
  INSERT INTO tasks_app_contextsummary
    (task_id, number, run_number, after_step, through_run, through_step, epoch, sequence, mark,
     text, ledger, pinned, model, provider_request_id, usage, tokens_before, tokens_after,
     started_at, completed_at)
  SELECT s.* FROM jsonb_to_recordset(%(summaries)s::jsonb) AS s (
    task_id uuid, number int, run_number int, after_step int, through_run int, through_step int,
    epoch int, sequence int, mark jsonb, text text, ledger text, pinned jsonb, model text,
    provider_request_id text, usage jsonb, tokens_before int, tokens_after int,
    started_at timestamptz, completed_at timestamptz)
  JOIN committed ON committed.id = s.task_id
)
"""
_NOT_RESTS_SQLITE = f"NOT {_RESTS.format(task='tasks_app_agenttask')}"
_COMMITTED = """
SELECT id, false, NULL FROM committed
UNION ALL
SELECT l.id, true, CASE WHEN l.cancel_requested_at IS NOT NULL THEN l.cancel_reason END
FROM locked l JOIN input i ON i.id = l.id
WHERE l.stopped AND l.epoch = i.epoch AND l.sequence = i.sequence AND l.status = 'RUNNING'
"""


def write_entries(entries: Sequence[Entry]) -> dict[uuid.UUID, Landed]:
    """Write a batch, at most one entry a task; return what became of each, by task.

    The new sequence where it committed. `Stopped` where it starts a call and a cancel or a pause
    was committed before: nothing of it was written. A task that is missing is no longer ours:
    nothing of its entry was written either. Safe to call again with the same batch when the outcome
    is unknown: an entry that had committed counts as committed and is not written twice.
    """
    asking = [entry for entry in entries if entry.connecting is not None]
    if not asking:
        return _write(entries)
    with transaction.atomic():
        outcomes = _write(entries)
        committed = [each for each in asking if isinstance(outcomes.get(each.task_id), int)]
        ask_to_connect(committed)
    return outcomes


def _write(entries: Sequence[Entry]) -> dict[uuid.UUID, Landed]:
    rows = rows_of(entries)
    write = _write_postgresql if connection.vendor == "postgresql" else _write_sqlite
    committed, stopped = write(rows)
    missing = [row for row in rows.tasks if row["id"] not in committed | stopped.keys()]
    if missing:
        committed |= _committed_before(missing)
    outcomes: dict[str, Landed] = {**stopped}
    outcomes |= {row["id"]: row["new_sequence"] for row in rows.tasks if row["id"] in committed}
    return {uuid.UUID(task_id): outcome for task_id, outcome in outcomes.items()}


def _write_postgresql(rows: Rows) -> tuple[set[str], dict[str, Stopped]]:
    parameters = {
        name: json.dumps(getattr(rows, name), ensure_ascii=False, separators=(",", ":"))
        for name in Rows.__slots__
    }
    with connection.cursor() as cursor:
        more = _WHOLES if rows.wholes else ""
        more += _SUMMARIES if rows.summaries else ""
        more += ENQUEUE_SQL if any(row["completed_at"] for row in rows.tasks) else ""
        cursor.execute(f"{_WRITE}{more}{_COMMITTED}", parameters)
        found = cursor.fetchall()
    committed = {str(task_id) for task_id, refused, _ in found if not refused}
    return committed, {
        str(task_id): Stopped(reason) for task_id, refused, reason in found if refused
    }


def _committed_before(rows: Sequence[Row]) -> set[str]:
    """Return the tasks that stand exactly where the entry would have left them.

    Nobody else moves the sequence of a task while it keeps its epoch.
    """
    same = Q(pk__in=[])
    for row in rows:
        same |= Q(
            pk=row["id"],
            sequence=row["new_sequence"],
            epoch=row["epoch"] + int(row["released"]),
            status=row["new_status"],
        )
    return {str(each) for each in AgentTask.objects.filter(same).values_list("pk", flat=True)}


def _write_sqlite(rows: Rows) -> tuple[set[str], dict[str, Stopped]]:
    with transaction.atomic():
        committed = {row["id"] for row in rows.tasks if _update_task(row)}
        stopped = _stopped_sqlite(row for row in rows.tasks if row["id"] not in committed)
        Step.objects.bulk_create(Step(**_times(row)) for row in _of(rows.steps, committed))
        ToolCall.objects.bulk_create(
            ToolCall(**{k: v for k, v in _times(row).items() if k != "task_id"})
            for row in _of(rows.calls, committed)
        )
        for row in _of(rows.changes, committed):
            _update_call(_times(row))
        WholeResult.objects.bulk_create(
            WholeResult(**{k: v for k, v in row.items() if k != "task_id"})
            for row in _of(rows.wholes, committed)
        )
        ContextSummary.objects.bulk_create(
            ContextSummary(**_times(row)) for row in _of(rows.summaries, committed)
        )
        Event.objects.bulk_create(Event(**_times(row)) for row in _of(rows.events, committed))
        ended = [row["id"] for row in rows.tasks if row["id"] in committed and row["completed_at"]]
        for task in AgentTask.objects.filter(pk__in=ended).select_related("end_user"):
            enqueue_deliveries(task)
    return committed, stopped


def _stopped_sqlite(rows: Iterable[Row]) -> dict[str, Stopped]:
    """Return those of the rows that are still ours, and were refused for what they start."""
    stopped = {}
    for row in rows:
        task = _ours(row).first() if row["starts"] else None
        if task is not None:
            asked = task.cancel_requested_at is not None
            stopped[row["id"]] = Stopped(task.cancel_reason if asked else None)
    return stopped


def _of(rows: Sequence[Row], committed: set[str]) -> list[Row]:
    return [row for row in rows if row["task_id"] in committed]


def _times(row: Row) -> Row:
    return {
        name: parse_datetime(value) if value and _is_time(name) else value
        for name, value in row.items()
    }


def _is_time(name: str) -> bool:
    return name == "at" or name.endswith(("_at", "_until"))


def _update_task(row: Row) -> int:
    row = _times(row)
    values: dict[str, Any] = {name: row[name] for name in _SET}
    values |= {name: F(name) + row[name] for name in _ADD}
    values |= {
        "sequence": row["new_sequence"],
        "status": row["new_status"],
        "steps_completed": F("steps_completed") + row["steps"],
        "summaries_made": F("summaries_made") + row["summaries"],
        "tool_calls_made": F("tool_calls_made") + row["tool_calls"],
    }
    if row["released"]:
        values |= {"worker": None, "epoch": F("epoch") + 1}
    if row["progress"]:
        values["crashes"] = 0
    if row["schema_version"] > FIRST_SCHEMA:
        values["schema_version"] = row["schema_version"]
    for name in ("next_attempt_at", "authentication_needed", "connection_wait_until"):
        if row[name] is not None:
            values[name] = row[name]
    if row["connection_wait_until"] is not None:
        values["started_at"] = None
    mine = _ours(row)
    if row["starts"]:
        mine = mine.filter(cancel_requested_at=None)
        mine = mine.extra(where=[_NOT_RESTS_SQLITE])  # noqa: S610 - a constant
    if row["cost_usd"] is not None:
        spent = mine.values_list("cost_usd", flat=True).first() or 0
        values["cost_usd"] = float(spent) + row["cost_usd"]
    return mine.update(**values)


def _ours(row: Row) -> QuerySet[AgentTask]:
    """Return the row's task while it stands where the entry says."""
    return AgentTask.objects.filter(
        pk=row["id"], epoch=row["epoch"], sequence=row["sequence"], status=Status.RUNNING
    )


def _update_call(row: Row) -> None:
    names = ("state", "result", "result_size", "completed_at", "completed_sequence")
    values = {name: row[name] for name in names}
    if row["started_at"]:
        values |= {"started_at": row["started_at"], "started_sequence": row["started_sequence"]}
    ToolCall.objects.filter(pk=row["id"]).update(**values)
