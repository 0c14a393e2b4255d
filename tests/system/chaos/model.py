"""The model server of a chaos run: a process that plays the scripts and books every request.

    python -m tests.system.chaos.model --seed 7 --port 8900 --book requests.jsonl

What it answers depends on the request alone, except that the troubles of a turn are dealt out
to the first requests for it. Nothing that the monkey does reaches it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.system.chaos.jsonl_log import Book
from tests.system.chaos.scenario import (
    MODEL,
    Ending,
    Script,
    ScriptedTurn,
    Trouble,
    digest,
    number_in,
    script_of,
)

USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}


class ModelServer:
    """Plays the scripts of one seed.

    Its book holds, for each request, `asked` (task, turn, id of the answer, digests of what it
    was shown, time) and, when a whole answer was written, `answered` (id, time).
    """

    def __init__(self, *, seed: int, book: Book) -> None:
        self._seed = seed
        self._book = book
        self._dealt: Counter[tuple[str, int]] = Counter()
        self._numbers = itertools.count(1)

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answer one request for a completion."""
        messages = (await request.json())["messages"]
        script = script_of(seed=self._seed, number=number_in(messages[1]["content"]))
        turn = 1 + sum(message["role"] == "assistant" for message in messages)
        trouble = self._trouble(script, turn)
        answer_id = f"gen-{next(self._numbers)}"
        self._book.write(
            kind="asked",
            id=answer_id,
            task=script.name,
            turn=turn,
            trouble=trouble,
            seen=digest(messages[2:]),
            system=digest([messages[0]["content"]]),
            at=time.time(),
        )
        if turn > len(script.turns):
            return web.json_response({"error": {"message": "The script is over."}}, status=400)
        await asyncio.sleep(script.turns[turn - 1].think)
        if trouble is not None and trouble is not Trouble.CUT:
            return _trouble(trouble)
        chunks = _chunks(script, turn, answer_id)
        response = await _stream(request, chunks[:1] if trouble else chunks)
        if trouble is None:
            self._book.write(kind="answered", id=answer_id, at=time.time())
        return response

    def _trouble(self, script: Script, turn: int) -> Trouble | None:
        """Return the trouble that this request gets, if it gets one."""
        if turn > len(script.turns):
            return None
        troubles = script.turns[turn - 1].troubles
        if script.ending is Ending.REFUSED and turn == len(script.turns):
            return troubles[0]
        dealt = self._dealt[script.name, turn]
        self._dealt[script.name, turn] += 1
        return troubles[dealt] if dealt < len(troubles) else None


def _trouble(trouble: Trouble) -> web.Response:
    error = {"error": {"code": 502, "message": "Trouble by the script."}}
    if trouble is Trouble.ERROR_INSIDE:
        return web.json_response(error)
    if trouble is Trouble.UNPAID:
        return web.json_response(error, status=402)
    if trouble is Trouble.BUSY:
        return web.json_response(error, status=429, headers={"Retry-After": "1"})
    return web.json_response(error, status=503)


def _chunks(script: Script, turn: int, answer_id: str) -> list[dict[str, Any]]:
    """Return the events of an answer; its last one carries the usage."""
    calls = _calls(script, script.turns[turn - 1], last=turn == len(script.turns))
    message: dict[str, Any] = {"role": "assistant", "content": "" if calls else script.report}
    if calls:
        message["tool_calls"] = calls
    finish = "tool_calls" if calls else "stop"
    head = {"id": answer_id, "model": MODEL}
    return [
        {**head, "choices": [{"index": 0, "delta": message, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]},
        {**head, "choices": [], "usage": USAGE},
    ]


def _calls(script: Script, turn: ScriptedTurn, *, last: bool) -> list[dict[str, Any]]:
    asked: list[tuple[str, Mapping[str, Any]]] = [(c.name, c.arguments) for c in turn.calls]
    if last and script.ending in (Ending.SUBMIT, Ending.INCOMPLETE):
        outcome = "completed" if script.ending is Ending.SUBMIT else "incomplete"
        asked.append(("submit_report", {"outcome": outcome, "report": script.report}))
    return [
        {
            "index": index,
            "id": f"call-{index}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        for index, (name, arguments) in enumerate(asked)
    ]


async def _stream(request: web.Request, chunks: list[dict[str, Any]]) -> web.StreamResponse:
    """Send the events; where the last one is missing, hang up in mid-stream."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for chunk in chunks:
        await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    if chunks[-1]["choices"]:
        assert request.transport is not None
        request.transport.close()
        return response
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


def main() -> None:
    """Serve on loopback until stopped."""
    parser = argparse.ArgumentParser(description="The scripted model of a chaos run.")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--book", type=Path, required=True)
    given = parser.parse_args()
    server = ModelServer(seed=given.seed, book=Book(path=given.book))
    app = web.Application(client_max_size=50_000_000)
    app.router.add_post("/v1/chat/completions", server.complete)
    web.run_app(app, host="127.0.0.1", port=given.port, print=None, access_log=None)


if __name__ == "__main__":
    main()
