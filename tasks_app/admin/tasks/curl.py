"""The requests of a task as commands for a shell, with placeholders where secrets stand."""

from __future__ import annotations

import json
import shlex
from typing import Any

from tasks_app.models import AgentTask

TOKEN = "$CAYLEX_PLATFORM_TOKEN"  # noqa: S105  the shell's variable
KEY = "ck_your_navigator_api_key"


def poll_command(task: AgentTask, *, api: str) -> str:
    """Return the command that asks how the task stands; `api` is the address of `agent-task`."""
    return _command(f"{api}/{task.pk}")


def submit_command(task: AgentTask, *, api: str) -> str:
    """Return the command that submits such a task anew. It holds the prompt, and no webhook.

    A webhook's address may be a secret of its own.
    """
    body: dict[str, Any] = {
        "caylex_api_key": KEY,
        "user_email": task.end_user.email,
        "prompt": task.prompt,
        "model": task.model,
    }
    if task.required_skill:
        body["skill_ref"] = task.required_skill["slug"]
    if task.metadata:
        body["metadata"] = task.metadata
    said = shlex.quote(json.dumps(body, ensure_ascii=False))
    return _command(f"-X POST {api} -H 'Content-Type: application/json' --data-raw {said}")


def _command(rest: str) -> str:
    return f'curl -sS -H "Authorization: Bearer {TOKEN}" {rest}'
