"""A client written from the newest published contract alone: approval mode, session, trace.

It uses the same variables as the clients in `docs/clients` and prints the finished task with
the calls of its trace.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import httpx

API = os.environ["CAYLEX_API_URL"]
TOKEN = os.environ["CAYLEX_PLATFORM_TOKEN"]


def run_background_task(client: httpx.Client, user_email: str, prompt: str) -> dict[str, Any]:
    """Submit, and poll until it finishes."""
    submit = client.post(
        "agent-task",
        json={
            "caylex_api_key": os.environ["CAYLEX_API_KEY"],
            "user_email": user_email,
            "prompt": prompt,
            "approval_mode": "exclude",
        },
    )
    submit.raise_for_status()
    while True:
        time.sleep(0.1)
        status = client.get(f"agent-task/{submit.json()['task_id']}")
        status.raise_for_status()
        data: dict[str, Any] = status.json()
        if data["status"] in ("COMPLETED", "INCOMPLETE", "FAILED"):
            return data


def trace(client: httpx.Client, session_id: str) -> list[dict[str, Any]]:
    """Page through the session's tool calls, two groups at a time."""
    calls: list[dict[str, Any]] = []
    offset = 0
    while True:
        page = client.get(
            f"queries/query-logs/{session_id}/trace", params={"offset": offset, "limit": 2}
        )
        page.raise_for_status()
        data = page.json()
        for group in data["tool_call_groups"]:
            calls += group["tool_calls"]
        if not data["meta"]["has_next"]:
            return calls
        offset += data["meta"]["limit"]


def main(user_email: str, prompt: str) -> int:
    """Run one task and print what it came to."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=API, headers=headers, timeout=30) as client:
        task = run_background_task(client, user_email, prompt)
        print(json.dumps({**task, "trace": trace(client, task["session_id"])}))
    return 0 if task["status"] == "COMPLETED" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
