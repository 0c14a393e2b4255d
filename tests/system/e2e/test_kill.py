"""A worker process is killed with -9 in the middle of its work, and nobody notices."""

import json
import os
import re
import signal
from collections import Counter
from pathlib import Path

import pytest
from django.db import connection

from tasks_app.models import AgentTask, Step, ToolCall, Worker
from tests.support.cluster import eventually
from tests.support.model_server import Recorded, Reply, ScriptedModel, ask, say
from tests.support.service import MODEL, Ledger, provision, running_service

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

TASKS = 12
STEPS = 8


def append_step_by_step(request: Recorded) -> Reply:
    """The n-th turn of task T appends `T-n`; after the last one comes the report."""
    messages = request.json["messages"]
    name = re.search(r"task-\d+", messages[1]["content"])
    assert name is not None
    turns = sum(message["role"] == "assistant" for message in messages)
    if turns < STEPS:
        return ask(("ledger__append", {"text": f"{name[0]}-{turns + 1}"}))
    return say(f"{name[0]} is done.")


def test_a_busy_worker_killed_with_9_loses_no_step_and_repeats_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(pause=0.02)
    with ledger.running() as url, ScriptedModel(answer=append_step_by_step) as model:
        monkeypatch.setenv("OPENROUTER_BASE_URL", model.base_url)
        monkeypatch.setenv("CAYLEX_ALLOWED_MODELS", MODEL)
        monkeypatch.setenv("CAYLEX_DEFAULT_MODEL", MODEL)
        keys = provision(tmp_path, {"servers": [{"name": "ledger", "url": url}]})
        with running_service(keys) as service:
            service.cluster.wait_for_children(2 if connection.vendor == "sqlite" else 3)
            ids = [service.submit(f"Do task-{number}.") for number in range(TASKS)]
            eventually(lambda: len(ledger.entries) >= TASKS, what="work under way")
            os.kill(busy_worker(), signal.SIGKILL)
            bodies = [service.wait(task_id) for task_id in ids]
            assert service.cluster.stop() == 0
            assert service.cluster.survivors() == []

    assert [body["status"] for body in bodies] == ["COMPLETED"] * TASKS
    for task in AgentTask.objects.all():
        indexes = Step.objects.filter(task=task).order_by("index").values_list("index", flat=True)
        assert list(indexes) == list(range(1, STEPS + 2))
    done = Counter(ledger.entries)
    assert not [text for text, times in done.items() if times > 1]
    in_doubt = {
        json.loads(call.arguments)["text"]
        for call in ToolCall.objects.filter(state="unknown_outcome")
    }
    wanted = {f"task-{number}-{step + 1}" for number in range(TASKS) for step in range(STEPS)}
    assert wanted - set(done) <= in_doubt
    assert AgentTask.objects.filter(epoch__gt=2).exists(), "the kill hit nobody"


def busy_worker() -> int:
    """Return the pid of a worker that holds tasks."""
    held = AgentTask.objects.filter(status="RUNNING").values_list("worker", flat=True)
    return Worker.objects.filter(pk__in=[each for each in held if each])[0].pid
