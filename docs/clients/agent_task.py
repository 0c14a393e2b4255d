"""Submit a background task and wait for its report, with nothing but httpx.

CAYLEX_API_URL         where the service is, e.g. https://tasks.example.com/api/v1/
CAYLEX_PLATFORM_TOKEN  your tenant's platform access token
CAYLEX_API_KEY         the key of the navigator that runs the task

python agent_task.py jane@example.com "Count last week's tickets." [skill]
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import httpx

FINISHED = {"COMPLETED", "INCOMPLETE", "FAILED"}


def connect() -> httpx.Client:
    """Return a client that knows the address and the token."""
    base = os.environ["CAYLEX_API_URL"].rstrip("/") + "/"
    token = os.environ["CAYLEX_PLATFORM_TOKEN"]
    return httpx.Client(base_url=base, headers={"Authorization": f"Bearer {token}"}, timeout=30)


def submit(client: httpx.Client, **fields: Any) -> str:
    """Submit a task and return its id; `fields` as the API guide lists them."""
    body = {"caylex_api_key": os.environ["CAYLEX_API_KEY"], **fields}
    answer = client.post("agent-task", json=body)
    answer.raise_for_status()
    accepted = answer.json()
    for warning in (accepted["model_warning"], accepted["skill_warning"]):
        if warning:
            print(warning, file=sys.stderr)
    return str(accepted["task_id"])


def wait_for(client: httpx.Client, task_id: str, *, pause: float | None = None) -> dict[str, Any]:
    """Poll until the task has ended and return it; `pause` is in seconds, else as advised."""
    while True:
        answer = client.get(f"agent-task/{task_id}")
        answer.raise_for_status()
        task: dict[str, Any] = answer.json()
        if task["status"] in FINISHED:
            return task
        time.sleep(task["poll_after_ms"] / 1000 if pause is None else pause)


def main(user_email: str, prompt: str, skill_ref: str | None = None) -> int:
    """Run one task and print what it came to; 0 only if it was completed."""
    pause = os.environ.get("POLL_SECONDS")
    with connect() as client:
        task_id = submit(client, user_email=user_email, prompt=prompt, skill_ref=skill_ref)
        task = wait_for(client, task_id, pause=None if pause is None else float(pause))
    print(json.dumps(task, indent=2))
    return 0 if task["status"] == "COMPLETED" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
