"""Every fault of the world at once: one task for each, all on one cluster, and what came of each.

A case is the list of the model's answers to its task, in order.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import re
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.utils import timezone

from demo.run import free_port
from tasks_app.models import AgentTask, Event, Step, ToolCall
from tasks_app.operations.submit import Submission, submit
from tasks_app.states import TERMINAL
from tests.support.cluster import running_cluster
from tests.support.factories import NavigatorFactory, ServerInstanceFactory
from tests.support.model_server import (
    Cut,
    Hold,
    Recorded,
    Reply,
    ScriptedModel,
    ask,
    delta,
    plain,
    say,
    stream,
)
from tests.support.tool_servers import RawServer, Seen, hang_up, head, raw
from tests.system.faults.harness import MODEL, settled, until
from tests.system.faults.ledger import Ledger

DONE = say("It is done.")
STALLED = stream(delta(role="assistant", content="It"), Hold(), done=False)
CUT = stream(delta(role="assistant", content="It"), Cut(), done=False)
HALF = stream(delta(role="assistant", content="It"), done=False)
GARBLED = Reply([b"<html>Bad gateway</html>"], 200, {"Content-Type": "text/html"})
INSIDE = plain({"error": {"code": 502, "message": "Upstream fell over"}})
UNPAID_INSIDE = plain({"error": {"code": 402, "message": "Insufficient credits"}})

READ_ONLY = {"annotations": {"readOnlyHint": True}}
ATTEMPTS = 3  # what a task has in these tests
SETTINGS = {
    "settings": "tests.system.faults.settings",
    "FAULTS_WAIT": "0.1",
    "CAYLEX_MAX_ATTEMPTS": str(ATTEMPTS),
    "CAYLEX_MODEL_STALL_SECONDS": "0.7",
    "CAYLEX_TOOL_TIMEOUT_SECONDS": "2",
}


def failing(status: int, **headers: str) -> Reply:
    """An answer with an error's status and the provider's words."""
    return plain(
        {"error": {"code": status, "message": "Words of theirs"}}, status=status, **headers
    )


def calling(tool: str, **arguments: str) -> Sequence[Reply]:
    """One call of a tool, then the report."""
    return (ask((tool, arguments)), DONE)


BUSY = failing(503)
CASES: dict[str, Sequence[Reply]] = {
    "busy-once": (BUSY, DONE),
    "busy-twice": (BUSY, BUSY, DONE),
    "retry-after-a-moment": (failing(429, Retry_After="1"), DONE),
    "retry-after-a-while": (failing(429, Retry_After="6"), DONE),
    "stalled": (STALLED, STALLED, DONE),
    "cut": (CUT, CUT, DONE),
    "ends-early": (HALF, HALF, DONE),
    "garbled": (GARBLED, GARBLED, DONE),
    "error-inside": (INSIDE, INSIDE, DONE),
    "between-steps": (
        *(BUSY,) * 2 * (ATTEMPTS - 1),
        ask(("ledger__put", {"text": "between"})),
        *(BUSY,) * 2 * (ATTEMPTS - 1),
        DONE,
    ),
    "used-up": (BUSY,) * 20,
    "http-400": (failing(400), DONE),
    "http-401": (failing(401), DONE),
    "http-402": (failing(402), DONE),
    "http-403": (failing(403), DONE),
    "http-404": (failing(404), DONE),
    "unpaid-inside": (UNPAID_INSIDE, DONE),
    "tool-hangs": calling("ledger__hang", text="hung"),
    "tool-dies": calling("hostile__die"),
    "tool-drips": calling("hostile__drip"),
    "tool-is-huge": calling("hostile__huge"),
    "tool-is-a-bomb": calling("hostile__bomb"),
    "server-is-away": (DONE,),
}


@dataclass
class Outcome:
    """What came of one case. `gaps` are the seconds between the requests to the model."""

    task: AgentTask
    requests: list[Recorded]
    gaps: list[float]
    events: list[tuple[str, str]]
    calls: list[ToolCall]
    steps: list[Step]


@dataclass
class World:
    """The model's scripts and what was asked of it."""

    arrivals: dict[str, list[tuple[float, Recorded]]] = field(default_factory=dict)

    def answer(self, request: Recorded) -> Reply:
        """Return the next answer of the case that the prompt names."""
        found = re.search(r"Case ([a-z0-9-]+)\.", request.json["messages"][1]["content"])
        assert found is not None
        seen = self.arrivals.setdefault(found[1], [])
        seen.append((time.monotonic(), request))
        return CASES[found[1]][len(seen) - 1]

    def outcome(self, name: str, task: AgentTask) -> Outcome:
        """Return what came of a case."""
        seen = self.arrivals.get(name, [])
        times = [at for at, _ in seen]
        events = Event.objects.filter(task=task).order_by("sequence")
        return Outcome(
            task=task,
            requests=[request for _, request in seen],
            gaps=[later - earlier for earlier, later in itertools.pairwise(times)],
            events=[(each.kind, each.data.get("reason", "")) for each in events],
            calls=[*ToolCall.objects.filter(step__task=task).order_by("step__index", "index")],
            steps=[*task.steps.order_by("index")],
        )


def play_all() -> dict[str, Outcome]:
    """Play every case and return the outcomes, with the ledger's lines checked by the way."""
    world, ledger = World(), Ledger()
    with (
        ledger.running() as url,
        running_hostile_server() as hostile,
        ScriptedModel(answer=world.answer) as model,
    ):
        navigator = NavigatorFactory.create(model=MODEL)
        servers = {"ledger": url, "hostile": hostile, "away": f"http://127.0.0.1:{free_port()}/mcp"}
        for name, address in servers.items():
            ServerInstanceFactory.create(
                project=navigator.project, server__name=name, server__url=address
            )
        with running_cluster(OPENROUTER_BASE_URL=model.base_url, **SETTINGS) as cluster:
            settled(cluster)
            ids: dict[str, uuid.UUID] = {}
            for name in CASES:
                submission = Submission(user_email="jane@example.com", prompt=f"Case {name}.")
                made = submit(navigator=navigator, submission=submission, now=timezone.now())
                ids[name] = made.task_id
            until(
                lambda: not AgentTask.objects.exclude(status__in=TERMINAL).exists(),
                "the end of all cases",
                cluster,
            )
            assert cluster.stop() == 0, cluster.log
    assert sorted(ledger.entries) == ["between", "hung"]
    return {name: world.outcome(name, AgentTask.objects.get(pk=pk)) for name, pk in ids.items()}


@contextmanager
def running_hostile_server() -> Iterator[str]:
    """Serve tools that die, drip, drown and explode, from a thread; yields the address."""
    server, loop, ready = RawServer(), asyncio.new_event_loop(), threading.Event()
    over = asyncio.Event()

    async def drip(_: Seen, writer: asyncio.StreamWriter) -> None:
        head(writer, 200, "OK", None, Content_Type="application/json")
        while True:
            await server.pour(writer, b" ", 1)
            await asyncio.sleep(0.02)

    async def huge(_: Seen, writer: asyncio.StreamWriter) -> None:
        head(writer, 200, "OK", None, Content_Type="application/json")
        await server.pour(writer, b"x" * 100_000, 600)

    bomb = gzip.compress(b"x" * 10_000_000)
    server.offer("die", hang_up)
    server.offer("drip", drip, **READ_ONLY)
    server.offer("huge", huge, **READ_ONLY)
    server.offer(
        "bomb", raw(bomb, Content_Type="application/json", Content_Encoding="gzip"), **READ_ONLY
    )

    async def serve() -> None:
        async with server.running():
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield server.url
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()
