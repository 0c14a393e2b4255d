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


class Refused(Exception):
    """The service refused; `str()` has its own words, and the request's id to ask for help with."""


def checked(answer: httpx.Response) -> dict[str, Any]:
    """Return the answer's body. Raises Refused."""
    if answer.is_error:
        try:
            problem = answer.json()
        except ValueError:  # a proxy's own words
            raise Refused(f"{answer.status_code} {answer.reason_phrase}") from None
        words = "{code}: {detail} ({request_id})".format_map(problem)
        raise Refused(f"{answer.status_code} {words}")
    body: dict[str, Any] = answer.json()
    return body


def submit(client: httpx.Client, **fields: Any) -> str:
    """Submit a task and return its id; `fields` as the API guide lists them."""
    body = {"caylex_api_key": os.environ["CAYLEX_API_KEY"], **fields}
    accepted = checked(client.post("agent-task", json=body))
    for warning in (accepted["model_warning"], accepted["skill_warning"]):
        if warning:
            print(warning, file=sys.stderr)
    return str(accepted["task_id"])


def wait_for(client: httpx.Client, task_id: str, *, pause: float | None = None) -> dict[str, Any]:
    """Poll until the task has ended and return it; `pause` is in seconds, else as advised."""
    while True:
        task = checked(client.get(f"agent-task/{task_id}"))
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
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: agent_task.py USER_EMAIL PROMPT [SKILL]")
    try:
        sys.exit(main(*sys.argv[1:]))
    except Refused as refused:
        sys.exit(str(refused))
