"""Answers of a model's server as exact bytes, and a case: those answers and what comes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent_runtime.messages import Tool
from tests.support.model_server import Reply

SSE = "text/event-stream"
JSON = "application/json"
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A task against a server that gives these answers, in this order.

    `requests` counts what arrived; `ledger` holds what the tools were sent: name and arguments.
    `body` holds what requests must have, by path (`1.messages.-1.content`: of the second one),
    and `absent` the paths that they must not have. `sees` are texts that the bytes of the last
    request hold, and `hides` are texts that nothing kept or sent may hold.
    """

    answers: Sequence[Reply]
    requests: int
    ledger: Sequence[tuple[str, Mapping[str, Any]]] = ()
    status: str = "COMPLETED"
    reason: str = "final_report"
    report: str | None = "Done."
    final: bool | None = None  # by default: whether there is a report of the agent
    error: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    absent: Sequence[str] = ()
    sees: Sequence[str] = ()
    hides: Sequence[str] = ()
    tools: Sequence[Tool] = ()
    model: str = "test/model"


def reply(data: bytes, *, kind: str = SSE, status: int = 200, **headers: str) -> Reply:
    """An answer of exactly these bytes. No content type is sent for an empty `kind`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply([data], status, {**({"Content-Type": kind} if kind else {}), **named})


def refusal(status: int, body: bytes, *, kind: str = JSON, **headers: str) -> Reply:
    """A refusal with exactly these bytes."""
    return reply(body, kind=kind, status=status, **headers)


def delta(values: str, finish: str = "null") -> bytes:
    """One event of a stream: the JSON of its delta, and the JSON of its finish reason."""
    choice = f'{{"index":0,"delta":{values},"finish_reason":{finish}}}'
    return f'data: {{"choices":[{choice}]}}\n\n'.encode()


def end(word: str = "stop") -> bytes:
    """The events that end a stream with this reason."""
    return delta("{}", json.dumps(word)) + DONE


def words(text: str, word: str = "stop") -> bytes:
    """A stream of these words."""
    return delta(json.dumps({"role": "assistant", "content": text})) + end(word)


def calls(*arguments: str, word: str = "tool_calls", call_id: str = "call_1") -> bytes:
    """A stream that calls fake__append with each of these arguments, as they stand."""
    made = [
        {
            "index": index,
            "id": call_id if index == 0 else f"{call_id}_{index}",
            "type": "function",
            "function": {"name": "fake__append", "arguments": each},
        }
        for index, each in enumerate(arguments)
    ]
    return delta(json.dumps({"role": "assistant", "tool_calls": made})) + end(word)


def plain(message: str, word: str = "stop") -> bytes:
    """A completion that is not streamed, with the JSON of its message."""
    choice = f'{{"index":0,"message":{message},"finish_reason":{json.dumps(word)}}}'
    return f'{{"id":"gen-1","model":"m","choices":[{choice}]}}'.encode()


SAYS_DONE = reply(words("Done."))


def at(value: Any, path: str) -> Any:
    """Return what stands at a path; raises KeyError or IndexError where nothing does."""
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value
