"""The body of a message: the same bytes at every try."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any

from tasks_app.models import WebhookDelivery

MAX_BODY = 20_000  # bytes
_TIMES = ("created_at", "started_at", "completed_at")


def body_of(delivery: WebhookDelivery) -> bytes:
    """Return the message as JSON, its report cut so that all of it stays under `MAX_BODY`.

    Where even the rest is too long, which metadata of multi-byte characters can be, the error
    and the metadata are left out too: the task's page has them.
    """
    data = dict(delivery.data)
    data |= {name: data[name] and _whole_seconds(data[name]) for name in _TIMES}
    body = _encoded(delivery, data)
    if len(body) < MAX_BODY:
        return body
    data["report_truncated"] = data["report"] is not None
    room = MAX_BODY - len(_encoded(delivery, {**data, "report": ""}))
    if room <= 0:
        data |= {"metadata": {}, "error": None}
        room = MAX_BODY - len(_encoded(delivery, {**data, "report": ""}))
    if data["report"] is not None:
        data["report"] = _cut(data["report"], room - 1)
    return _encoded(delivery, data)


def _encoded(delivery: WebhookDelivery, data: Mapping[str, Any]) -> bytes:
    message = {
        "type": delivery.event,
        "timestamp": _whole_seconds(delivery.created_at.isoformat()),
        "data": data,
    }
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def _whole_seconds(moment: str) -> str:
    return datetime.datetime.fromisoformat(moment).replace(microsecond=0).isoformat()


def _cut(text: str, room: int) -> str:
    """Return as much of the text's beginning as takes at most `room` bytes within JSON."""
    for index, char in enumerate(text):
        room -= len(json.dumps(char, ensure_ascii=False).encode()) - 2
        if room < 0:
            return text[:index]
    return text
