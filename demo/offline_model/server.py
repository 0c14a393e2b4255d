"""The offline model: a fixed policy behind the chat-completions API. NOT a language model.

    python -m demo.offline_model.server --port 8903

It lets the whole machine run without a key: it loads the skill that it is ordered to load,
calls the reading tools that the words of the task point to, counts and groups what comes
back, and reports that (see `offline_policy.py`). What it reports is computed from the tools'
results; nothing is canned. Its tokens are counts of words; there is no cost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from demo.offline_model.policy import Decision, decide, encoded
from demo.offline_model.reading import content_text, read_conversation

MODEL = "offline/fixed-policy"
DESCRIPTION = "A fixed policy that stands in where no model is configured; NOT a language model."
PIECE = 40  # characters in one piece of a stream


def answer(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the completion for a request. Raises ValueError when it is malformed."""
    decision = decide(read_conversation(body))
    message: dict[str, Any] = {"role": "assistant", "content": decision.text or None}
    if decision.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{uuid.uuid4().hex[:16]}",
                "type": "function",
                "function": {"name": each.name, "arguments": encoded(each.arguments)},
            }
            for each in decision.calls
        ]
    finish = "tool_calls" if decision.calls else "stop"
    return {
        "id": f"offline-{uuid.uuid4()}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": _usage(body, decision),
    }


def _usage(body: Mapping[str, Any], decision: Decision) -> dict[str, Any]:
    read = sum(len(content_text(each.get("content")).split()) for each in body["messages"])
    written = decision.text + " ".join(encoded(each.arguments) for each in decision.calls)
    count = len(written.split())
    return {
        "prompt_tokens": read,
        "completion_tokens": count,
        "total_tokens": read + count,
        "cost": None,
    }


async def chunks(completion: Mapping[str, Any]) -> AsyncIterator[bytes]:
    """Yield a completion as the events of a stream."""
    head = {key: completion[key] for key in ("id", "created", "model")}
    head["object"] = "chat.completion.chunk"
    choice = completion["choices"][0]
    text = choice["message"]["content"] or ""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": text[at : at + PIECE]} for at in range(0, len(text), PIECE)]
    for index, call in enumerate(choice["message"].get("tool_calls") or ()):
        deltas.append({"tool_calls": [{"index": index, **call}]})
    for delta in deltas:
        yield _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        await asyncio.sleep(0)
    last = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    yield _event({**head, "choices": [last]})
    yield _event({**head, "choices": [], "usage": completion["usage"]})
    yield b"data: [DONE]\n\n"


def _event(value: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def _refused(status: int, message: str, code: str) -> JSONResponse:
    error = {"message": message, "type": "invalid_request_error", "code": code}
    return JSONResponse({"error": error}, status_code=status)


async def complete(request: Request) -> Response:
    """POST /v1/chat/completions."""
    try:
        body = await request.json()
        if not isinstance(body, dict):
            raise ValueError("the body must be an object")
        if body.get("model") != MODEL:
            return _refused(404, f"The only model here is {MODEL}.", "model_not_found")
        completion = answer(body)
    except (ValueError, RecursionError) as error:
        return _refused(400, f"The request is malformed: {error}.", "invalid_request_error")
    if body.get("stream"):
        return StreamingResponse(chunks(completion), media_type="text/event-stream")
    return JSONResponse(completion)


async def models(_: Request) -> Response:
    """GET /v1/models."""
    model = {"id": MODEL, "object": "model", "owned_by": "caylex", "description": DESCRIPTION}
    return JSONResponse({"object": "list", "data": [model]})


app = Starlette(
    routes=[
        Route("/v1/models", models),
        Route("/v1/chat/completions", complete, methods=["POST"]),
    ]
)


def main() -> None:
    """Serve on loopback until it is stopped."""
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    print(f"{MODEL} at http://127.0.0.1:{port}/v1: {DESCRIPTION}", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
