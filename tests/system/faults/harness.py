"""What a test of faults plays on: a scripted model, a ledger, a project, and real workers.

    ids = stage.submit(12)
    with running_cluster() as cluster:
        os.kill(stage.busy_worker(), signal.SIGKILL)
        stage.wait(ids, cluster)
    stage.check_books(ids)

Task `task-7` writes `task-7/1`, `task-7/2` … into the ledger, one line a turn, and then reports;
odd tasks by a tool that may not be sent twice, even ones by a tool that may.
"""

from __future__ import annotations

import datetime
import itertools
import json
import os
import re
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from django.db import OperationalError, connection, transaction
from django.utils import timezone

from caylex_project.accounts.models import Navigator
from tasks_app.models import SCHEMA, AgentTask, Event, Step, ToolCall, Worker
from tasks_app.operations.submit import Submission, submit
from tasks_app.states import TERMINAL, Status, WorkerState
from tasks_app.worker.claiming.claim import claim_due
from tests.support.cluster import Cluster, NeverHappened
from tests.support.factories import NavigatorFactory, ServerInstanceFactory, WorkerFactory
from tests.support.model_server import Pause, Recorded, Reply, ScriptedModel, ask, say
from tests.system.faults.ledger import Ledger

MODEL = "test/model"
PATIENCE = 60.0  # seconds until a test gives up; never how long something should take

Result = TypeVar("Result")
Policy = Callable[[Recorded], Reply]


def task_of(request: Recorded) -> str:
    """Return the name of the task that a model request is about."""
    found = re.search(r"task-\d+", request.json["messages"][1]["content"])
    assert found is not None
    return found[0]


def turn_of(request: Recorded) -> int:
    """Return which turn of its task a model request asks for, from 1."""
    messages: list[dict[str, str]] = request.json["messages"]
    return 1 + sum(message["role"] == "assistant" for message in messages)


def tool_of(name: str) -> str:
    """Return the tool that a task uses: every second one may be sent twice."""
    return "append" if int(name.partition("-")[2]) % 2 else "put"


def writing(turns: int, *, think: float = 0.0, tool: str = "") -> Policy:
    """Return the policy that writes a line in each of `turns` turns and then reports."""

    def answer(request: Recorded) -> Reply:
        name, turn = task_of(request), turn_of(request)
        reply = say(f"{name} is done.")
        if turn <= turns:
            reply = ask((f"ledger__{tool or tool_of(name)}", {"text": f"{name}/{turn}"}))
        return replace(reply, parts=[Pause(think), *reply.parts])

    return answer


@dataclass
class Stage:
    """The model, the ledger and the project.

    `turns` is how many lines a task appends, `answer` the model's policy.
    """

    model: ScriptedModel
    ledger: Ledger
    navigator: Navigator
    turns: int
    answer: Policy
    names: dict[uuid.UUID, str] = field(default_factory=dict)

    def submit(self, count: int = 1) -> list[uuid.UUID]:
        """Submit so many tasks, as the API does, and return their ids."""
        return [self.submit_prompt(f"Do task-{len(self.names)}.") for _ in range(count)]

    def submit_prompt(self, prompt: str) -> uuid.UUID:
        """Submit one task and return its id."""
        submission = Submission(user_email="jane@example.com", prompt=prompt)
        now = timezone.now()
        made = submit(navigator=self.navigator, submission=submission, now=now)
        self.names[made.task_id] = prompt.removeprefix("Do ").rstrip(".")
        return made.task_id

    def wait(self, ids: Sequence[uuid.UUID], *clusters: Cluster) -> list[AgentTask]:
        """Wait until the tasks have ended, and return them in the order of `ids`."""

        def ended() -> list[AgentTask]:
            tasks = {task.id: task for task in AgentTask.objects.filter(pk__in=ids)}
            over = [task for task in tasks.values() if task.status in TERMINAL]
            return [tasks[each] for each in ids] if len(over) == len(ids) else []

        return until(ended, "the end of all tasks", *clusters)

    def wait_for_lines(self, count: int, *clusters: Cluster) -> None:
        """Wait until the ledger holds so many lines."""
        until(lambda: len(self.ledger.entries) >= count, f"{count} lines", *clusters)

    def wait_for_requests(self, count: int, *clusters: Cluster) -> None:
        """Wait until so many requests have reached the model."""
        until(lambda: len(self.model.requests) >= count, f"{count} requests", *clusters)

    def busy_worker(self, *clusters: Cluster) -> Worker:
        """Wait for a living worker that holds tasks, and return it."""
        holding = Worker.objects.filter(state=WorkerState.ALIVE, tasks__status=Status.RUNNING)
        found = until(holding.distinct().first, "a busy worker", *clusters)
        assert found is not None
        return found

    def send_to_busy_worker(self, number: signal.Signals, *clusters: Cluster) -> Worker:
        """Signal a worker that holds tasks, and return it.

        On SQLite not in the middle of a write: frozen there, it would keep everybody from writing.
        """
        worker = self.busy_worker(*clusters)
        with transaction.atomic():
            os.kill(worker.pid, number)
        return worker

    def play(self, *, tool: str = "", think: float = 0.05, turns: int | None = None) -> None:
        """Change what the tasks do; before the first of them is submitted."""
        self.turns = turns or self.turns
        self.answer = writing(self.turns, think=think, tool=tool)

    def worker_of_another_machine(self, *, lease: float) -> Worker:
        """Write a worker that lives elsewhere, for as long as its lease lasts."""
        now = timezone.now()
        lease_until = now + datetime.timedelta(seconds=lease)
        worker: Worker = WorkerFactory.create(started_at=now, lease_until=lease_until)
        return worker

    def submit_held_by(self, worker: Worker, *, count: int) -> list[uuid.UUID]:
        """Submit tasks that a worker holds before any other sees them."""
        with transaction.atomic():
            ids = self.submit(count)
            claims, _ = claim_due(worker_id=worker.id, limit=count, after_tenant=uuid.UUID(int=0))
        assert {claim.task_id for claim in claims} == {*ids}
        return ids

    def submit_of_a_newer_release(self) -> uuid.UUID:
        """Submit a task in whose rows there may be what these workers cannot read."""
        with transaction.atomic():
            (task_id,) = self.submit(1)
            AgentTask.objects.filter(pk=task_id).update(schema_version=SCHEMA + 1)
        return task_id

    def names_asked(self) -> set[str]:
        """Return the names of the tasks that the model was asked about."""
        return {name for name, _ in self.asked()}

    def asked(self) -> Counter[tuple[str, int]]:
        """Return how often each turn of each task was asked for."""
        return Counter((task_of(each), turn_of(each)) for each in list(self.model.requests))

    def last_words_to_model(self) -> list[str]:
        """Return the last message of the last request about each task."""
        last = {task_of(each): each.json["messages"][-1]["content"] for each in self.model.requests}
        return list(last.values())

    def check_turns_asked_once(self) -> None:
        """No turn was paid for twice."""
        assert {key: times for key, times in self.asked().items() if times > 1} == {}

    def check_nothing_in_doubt(self) -> None:
        """Nobody had to be told that a call may or may not have happened."""
        doubtful = ToolCall.objects.filter(state="unknown_outcome")
        assert [*doubtful.values_list("name", "result", "started_at", "completed_at")] == []

    def check_books(self, ids: Sequence[uuid.UUID]) -> None:
        """Hold the rows against the ledger: nothing lost, nothing twice, nothing unnamed.

        A line of a repeatable tool may be there twice, but then with one key.
        """
        for task in AgentTask.objects.filter(pk__in=ids):
            name = self.names[task.id]
            assert (task.status, task.worker_id, task.attempt) == (Status.COMPLETED, None, 0)
            assert (task.report or "").startswith(f"{name} is done.")
            indexes = task.steps.order_by("index").values_list("index", flat=True)
            assert list(indexes) == list(range(1, self.turns + 2))
            assert numbers_of(task) == list(range(1, task.sequence + 1))
            self._check_calls(task, name)

    def _check_calls(self, task: AgentTask, name: str) -> None:
        done = Counter(self.ledger.entries)
        keys = Counter(set(zip(self.ledger.entries, self.ledger.keys, strict=True)))
        calls = list(ToolCall.objects.filter(step__task=task).order_by("step__index"))
        lines = [f"{name}/{turn + 1}" for turn in range(self.turns)]
        assert [json.loads(call.arguments)["text"] for call in calls] == lines
        for line, call in zip(lines, calls, strict=True):
            unknown = call.state == "unknown_outcome" and not call.repeatable
            assert unknown or call.state == "succeeded", (line, call.state)
            assert done[line] >= (0 if unknown else 1), f"{line} is missing"
            assert call.repeatable or done[line] <= 1, f"{line} was done {done[line]} times"
            assert done[line] == 0 or keys[line, str(call.id)] == 1, f"{line}: another key"
            if unknown:
                assert call.name in (task.report or ""), f"{line} is not named in the report"


@contextmanager
def raised_stage(*, turns: int = 5, think: float = 0.05, pause: float = 0.02) -> Iterator[Stage]:
    """Serve the model and the ledger, and write a project that uses them.

    The model thinks for `think` seconds a turn, the ledger writes for `pause` seconds.
    """
    ledger = Ledger(pause=pause)
    policy = writing(turns, think=think)
    with ledger.running() as url, ScriptedModel(answer=lambda each: stage.answer(each)) as model:
        navigator = NavigatorFactory.create(model=MODEL)
        ServerInstanceFactory.create(
            project=navigator.project, server__name="ledger", server__url=url
        )
        stage = Stage(model=model, ledger=ledger, navigator=navigator, turns=turns, answer=policy)
        yield stage


def small_clusters() -> int:
    """How many a cluster has: those that the database allows, and the quarantine's."""
    return 2 if connection.vendor == "sqlite" else 3


def settled(cluster: Cluster) -> list[int]:
    """Wait until every small cluster has its engine, and return their pids."""
    cluster.wait_for("engine.started", count=small_clusters())
    return cluster.wait_for_children(small_clusters())


def numbers_of(task: AgentTask) -> list[int]:
    """Return every number in a task's stream of changes, in order."""
    calls = ToolCall.objects.filter(step__task=task)
    numbers: Iterable[int | None] = itertools.chain(
        Step.objects.filter(task=task).values_list("sequence", flat=True),
        Event.objects.filter(task=task).values_list("sequence", flat=True),
        calls.values_list("started_sequence", flat=True),
        calls.values_list("completed_sequence", flat=True),
    )
    return sorted(number for number in numbers if number is not None)


def until(look: Callable[[], Result], what: str, *clusters: Cluster) -> Result:
    """Look every few milliseconds until it is true, and return what was seen then."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if seen := look():
                return seen
        except OperationalError:  # the test's own connection was cut too
            connection.close()
        time.sleep(0.02)
    logs = "\n\n".join(cluster.log for cluster in clusters)
    raise NeverHappened(f"{what}, in:\n{logs}")
