"""The bodies that the OpenAPI description shows."""

from __future__ import annotations

from typing import Any

REQUEST_ID = "3f1c8a7e5d2b4c6f9a0b1c2d3e4f5a6b"
TASK_ID = "0d4c1c3e-8f6b-4f0e-9a53-1f6f6b7f2a10"
SESSION_ID = "7c3c5b8e-3d0a-4f6d-8a0f-2b9d4e1c6a55"
SKILL = {
    "id": "b54a3c1e-6a52-4b7e-9d5e-0c8a7f3d2e11",
    "name": "Weekly report",
    "slug": "weekly-report",
    "source": "project",
}
REPORT = "Counted 142 tickets of last week: 61 about billing, 48 about sign-in, 33 others."

SUBMIT = {
    "caylex_api_key": "ck_your_navigator_api_key",
    "user_email": "jane@example.com",
    "prompt": "Count last week's tickets by area and name the three largest.",
    "skill_ref": "weekly-report",
    "metadata": {"order": "17"},
    "limits": {"max_steps": 40, "max_cost_usd": 0.5},
}
SUBMITTED = {
    "task_id": TASK_ID,
    "status": "queued",
    "model": "anthropic/claude-sonnet-4.6",
    "model_warning": None,
    "resolved_skill": SKILL,
    "skill_warning": None,
    "webhook_warning": None,
}
COMPLETED: dict[str, Any] = {
    "task_id": TASK_ID,
    "session_id": SESSION_ID,
    "status": "COMPLETED",
    "terminal": True,
    "stop_reason": "final_report",
    "report": REPORT,
    "result": {
        "text": REPORT,
        "tool_calls_made": 4,
        "hit_iteration_limit": False,
        "final_report_produced": True,
    },
    "error": None,
    "model": "anthropic/claude-sonnet-4.6",
    "skill": SKILL,
    "user_email": "jane@example.com",
    "metadata": {},
    "limits": {
        "max_steps": 40,
        "max_tool_calls": None,
        "max_tokens": None,
        "max_cost_usd": 0.5,
        "timeout_seconds": 14400.0,
    },
    "rerun_of": None,
    "progress": {
        "steps_completed": 5,
        "tool_calls_made": 4,
        "current": "Finished: the agent has reported.",
    },
    "usage": {
        "input_tokens": 18250,
        "output_tokens": 940,
        "cached_input_tokens": 12800,
        "reasoning_tokens": 0,
        "total_tokens": 19190,
        "llm_calls": 5,
        "tool_calls": 4,
        "cost_usd": 0.0412,
    },
    "attempt": 0,
    "next_attempt_at": None,
    "cancel_requested_at": None,
    "authentication_needed": [],
    "poll_after_ms": None,
    "created_at": "2026-06-18T15:00:00+00:00",
    "started_at": "2026-06-18T15:00:01+00:00",
    "completed_at": "2026-06-18T15:01:12+00:00",
}
CANCEL = {"reason": "Jane found the numbers herself"}
_ACCOUNT = (
    "The agent wrote no report; this account is the engine's. It stopped because the task was "
    "cancelled: Jane found the numbers herself. Tool calls that succeeded: "
    "tickets__count_by_field (2)."
)
CANCELLED: dict[str, Any] = {
    **COMPLETED,
    "status": "INCOMPLETE",
    "stop_reason": "cancelled",
    "report": _ACCOUNT,
    "result": {
        "text": _ACCOUNT,
        "tool_calls_made": 2,
        "hit_iteration_limit": False,
        "final_report_produced": False,
    },
    "progress": {
        "steps_completed": 3,
        "tool_calls_made": 2,
        "current": "Stopped: the task was cancelled.",
    },
    "usage": {**COMPLETED["usage"], "llm_calls": 3, "tool_calls": 2},
    "cancel_requested_at": "2026-06-18T15:01:11+00:00",
}
_NO_CREDIT = "The model provider wants to be paid (HTTP 402); add credit, or raise the key's limit."
_ACCOUNT_OF_FAILURE = (
    "The agent wrote no report; this account is the engine's. It stopped because the task failed: "
    f"{_NO_CREDIT} Tool calls that succeeded: tickets__count_by_field (2)."
)
FAILED: dict[str, Any] = {
    **CANCELLED,
    "status": "FAILED",
    "stop_reason": "error",
    "report": _ACCOUNT_OF_FAILURE,
    "result": {**CANCELLED["result"], "text": _ACCOUNT_OF_FAILURE},
    "error": _NO_CREDIT,
    "progress": {**CANCELLED["progress"], "current": f"Failed: {_NO_CREDIT}"},
    "cancel_requested_at": None,
}
_RUNNING: dict[str, Any] = {
    **CANCELLED,
    "status": "RUNNING",
    "terminal": False,
    "stop_reason": None,
    "report": None,
    "result": None,
    "poll_after_ms": 2000,
    "completed_at": None,
}
STOPPING: dict[str, Any] = {
    **_RUNNING,
    "progress": {**CANCELLED["progress"], "current": "Stopping, as asked."},
}
RETRY = {"limits": {"max_steps": 80}}
CONTINUE = {"message": "Now name the customers behind the billing tickets."}
RETRIED: dict[str, Any] = {
    **_RUNNING,
    "status": "PENDING",
    "progress": {**CANCELLED["progress"], "current": "Waiting for a worker."},
    "cancel_requested_at": None,
    "started_at": None,
}
CONTINUED: dict[str, Any] = {
    **RETRIED,
    "progress": {**COMPLETED["progress"], "current": "Waiting for a worker."},
}
RERUN = {**SUBMITTED, "task_id": "3b7f0e52-9c1d-4a86-b0f4-5d2e8c6a9b13"}
