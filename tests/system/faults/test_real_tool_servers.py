"""A task through each real tool server, which is killed and started again in the middle of it."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from tasks_app.models import AgentTask, ToolCall
from tasks_app.operations.submit import Submission, submit
from tasks_app.states import TERMINAL
from tests.support.cluster import running_cluster
from tests.support.factories import NavigatorFactory, ServerInstanceFactory
from tests.support.model_server import Recorded, Reply, ScriptedModel, Until, ask, say
from tests.system.faults.harness import MODEL, settled, turn_of, until
from tests.system.faults.real_servers import PEERS, Restart, RunningPeer, Turn, running_peer

pytestmark = [pytest.mark.peer, pytest.mark.django_db, pytest.mark.timeout(300)]

REPORT = "It is done."


@dataclass
class Outcome:
    """What came of the task of one server."""

    task: AgentTask
    calls: list[ToolCall]
    requests: list[Recorded]
    running: RunningPeer


class Play:
    """The model of all tasks: it calls what a server's turns say, and restarts it where they do."""

    def __init__(self, running: dict[str, RunningPeer]) -> None:
        self.running = running
        self.requests: dict[str, list[Recorded]] = {name: [] for name in running}
        self._restarting: list[threading.Thread] = []

    def answer(self, request: Recorded) -> Reply:
        """Answer with the next call. After a restart, the answer waits until the server is up."""
        found = re.search(r"Use the server ([\w-]+)\.", request.json["messages"][1]["content"])
        assert found is not None
        name, number = found[1], turn_of(request)
        self.requests[name].append(request)
        turns = turns_of(self.running[name])
        if number > len(turns):
            return say(REPORT)
        restarts, (tool, arguments) = turns[number - 1]
        reply = ask((f"{name}__{tool}", arguments))
        return self._after_restart(name, reply) if restarts else reply

    def _after_restart(self, name: str, reply: Reply) -> Reply:
        up = threading.Event()

        def restart() -> None:
            self.running[name].restart()
            up.set()

        thread = threading.Thread(target=restart, daemon=True)
        thread.start()
        return replace(reply, parts=[Until(up), *reply.parts])


def turns_of(running: RunningPeer) -> list[tuple[bool, Turn]]:
    """Return the calls of a server's task, each with whether the server is restarted before it."""
    found: list[tuple[bool, Turn]] = []
    restarts = False
    for each in running.peer.turns(running.place):
        if isinstance(each, Restart):
            restarts = True
        else:
            found.append((restarts, each))
            restarts = False
    return found


def play_all(running: dict[str, RunningPeer]) -> dict[str, Outcome]:
    """Run a task for each server, all at once, and return what came of them."""
    play = Play(running)
    with ScriptedModel(answer=play.answer) as model:
        ids = {}
        for name, each in running.items():
            navigator = NavigatorFactory.create(model=MODEL)
            ServerInstanceFactory.create(
                project=navigator.project, server__name=name, server__url=each.url
            )
            submission = Submission(user_email="jane@example.com", prompt=f"Use the server {name}.")
            made = submit(navigator=navigator, submission=submission, now=timezone.now())
            ids[name] = made.task_id
        with running_cluster(OPENROUTER_BASE_URL=model.base_url) as cluster:
            settled(cluster)
            until(
                lambda: not AgentTask.objects.exclude(status__in=TERMINAL).exists(),
                "the end of all tasks",
                cluster,
            )
            assert cluster.stop() == 0, cluster.log
    return {
        name: Outcome(
            task=AgentTask.objects.get(pk=pk),
            calls=[*ToolCall.objects.filter(step__task=pk).order_by("step__index", "index")],
            requests=play.requests[name],
            running=running[name],
        )
        for name, pk in ids.items()
    }


@pytest.fixture(scope="module")
def outcomes(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Outcome]]:
    """The outcomes for the servers that are installed; the database is empty again."""
    peers = Path(os.environ.get("CAYLEX_PEERS", "")).absolute()
    programs = "node", "git"
    usable = os.environ.get("CAYLEX_PEERS") and all(map(shutil.which, programs))
    installed = {
        name: running_peer(peer, peers=peers, folder=tmp_path_factory.mktemp("peers") / name)
        for name, peer in PEERS.items()
        if usable and all((peers / each).exists() for each in peer.needs)
    }
    if not installed:
        yield {}
        return
    try:
        with ThreadPoolExecutor() as threads:
            list(threads.map(RunningPeer.start, installed.values()))
        with django_db_blocker.unblock():
            try:
                yield play_all(installed)
            finally:
                call_command("flush", interactive=False, verbosity=0)
    finally:
        for each in installed.values():
            each.kill()


@pytest.mark.parametrize("name", PEERS)
def test_a_run_goes_on_after_its_server_was_killed(outcomes: dict[str, Outcome], name: str) -> None:
    if name not in outcomes:
        pytest.skip(f"peer {name} NOT RUN: run `make install-peers` and set CAYLEX_PEERS")
    outcome, peer = outcomes[name], PEERS[name]
    turns = turns_of(outcome.running)
    assert outcome.running.starts == 1 + sum(restarts for restarts, _ in turns)
    assert (outcome.task.status, outcome.task.stop_reason) == ("COMPLETED", "final_report")
    assert (outcome.task.report or "").startswith(REPORT)
    assert [(each.name, each.state) for each in outcome.calls] == [
        (f"{name}__{tool}", "unknown_outcome" if tool in peer.in_doubt else "succeeded")
        for _, (tool, _) in turns
    ], [each.result for each in outcome.calls]
    assert peer.last_result in (outcome.calls[-1].result or "")
    assert list(peer.done(outcome.running.place)) == list(peer.once), "not each call once"
    assert len(outcome.requests) == len(turns) + 1, "a turn was paid for twice"
    report = outcome.task.report or ""
    assert [each for each in peer.in_doubt if each not in report] == [], "not told to the caller"
