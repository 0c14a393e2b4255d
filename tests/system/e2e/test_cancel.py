"""Cancel and retry on real processes: what is cut off, what is told, and what is not repeated."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks_app.models import AgentTask, Event, Step, ToolCall
from tests.support.accounts import make_account
from tests.support.cluster import database_url, eventually
from tests.support.fork_server import ROOT
from tests.support.model_server import (
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
from tests.support.service import MODEL, TERMINAL, Ledger, Service, provision, running_service
from tests.support.web_process import running_web

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

PROMISED = 2.0  # seconds from the request to the end, as the API guide has it
GENEROUS = 5.0  # seconds that a busy machine is given here
KNOWN = {"PENDING", "RUNNING", *TERMINAL}  # the words of the published clients
FIRST = ("ledger__append", {"text": "first"})


def hang() -> Reply:
    """Begin an answer and never end it."""
    return stream(delta(role="assistant", content="Let me think"), Hold())


@contextmanager
def stage(
    folder: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Recorded], Reply] | None = None
) -> Iterator[tuple[Service, Ledger, ScriptedModel]]:
    """The service with a ledger to write into and a model that follows a script."""
    ledger = Ledger()
    with ledger.running() as url, ScriptedModel(answer=answer) as model:
        monkeypatch.setenv("OPENROUTER_BASE_URL", model.base_url)
        monkeypatch.setenv("CAYLEX_ALLOWED_MODELS", MODEL)
        monkeypatch.setenv("CAYLEX_DEFAULT_MODEL", MODEL)
        keys = provision(folder, {"servers": [{"name": "ledger", "url": url}]})
        with running_service(keys) as service:
            yield service, ledger, model


def post(service: Service, task_id: str, action: str, **body: Any) -> httpx.Response:
    path = f"{service.api}/agent-task/{task_id}/{action}"
    return httpx.post(path, headers=service.headers, json=body, trust_env=False)


def cancelled(service: Service, task_id: str, *, what: str) -> dict[str, Any]:
    """Cancel a running task and return its last body, once it has ended in time."""
    asked = time.monotonic()
    answer = post(service, task_id, "cancel", reason="Jane asked for it")
    assert answer.status_code == 202
    seen: list[dict[str, Any]] = [answer.json()]
    while not seen[-1]["terminal"]:
        time.sleep(0.02)
        seen.append(service.poll(task_id))
    took = time.monotonic() - asked
    print(f"cancelled while {what}: ended {took:.2f} s after the request (promised: {PROMISED})")
    assert took < GENEROUS, service.cluster.log
    assert {each["status"] for each in seen} <= KNOWN
    assert (seen[-1]["status"], seen[-1]["stop_reason"]) == ("INCOMPLETE", "cancelled")
    assert "the task was cancelled: Jane asked for it." in seen[-1]["report"]
    assert post(service, task_id, "cancel").json() == seen[-1]
    return seen[-1]


def test_a_task_whose_model_hangs_ends_in_time_and_a_published_client_comes_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage(tmp_path, monkeypatch) as (service, ledger, model):
        model.script(ask(FIRST), hang(), say("never asked for"))
        client = published_client(service)
        try:
            eventually(lambda: len(model.requests) == 2, what="the second question")
            task_id = str(AgentTask.objects.get().id)
            eventually(
                lambda: service.poll(task_id)["progress"]["steps_completed"] == 1, what="a step"
            )
            assert not model.hung_up.is_set()

            body = cancelled(service, task_id, what="the model hangs")

            assert model.hung_up.wait(GENEROUS), "the model call was not aborted"
            printed, said = client.communicate(timeout=60)
        finally:
            client.kill()
            client.communicate()
        assert len(model.requests) == 2

    assert "Tool calls that succeeded: ledger__append." in body["report"]
    assert "outcome" not in body["report"]
    assert body["result"]["final_report_produced"] is False
    assert ledger.entries == ["first"]
    assert (client.returncode, said) == (1, "")
    assert json.loads(printed) == body


def published_client(service: Service) -> subprocess.Popen[str]:
    """Start the guide's own client: it submits a task and polls until that has ended."""
    return subprocess.Popen(
        [sys.executable, "docs/clients/agent_task.py", "jane@example.com", "Write."],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "CAYLEX_API_URL": service.api,
            "CAYLEX_PLATFORM_TOKEN": service.keys["platform_access_token"],
            "CAYLEX_API_KEY": service.keys["caylex_api_key"],
            "POLL_SECONDS": "0.05",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_tool_call_on_the_wire_is_told_as_unknown_and_never_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage(tmp_path, monkeypatch) as (service, ledger, model):
        second = ("ledger__append_and_hang", {"text": "second"})
        model.script(ask(FIRST), ask(second), say("I know that I do not know."))
        task_id = service.submit("Write.")
        eventually(lambda: "second" in ledger.entries, what="the call that hangs")
        assert service.poll(task_id)["progress"]["current"] == (
            "Step 2: waiting for ledger: append_and_hang."
        )

        body = cancelled(service, task_id, what="a tool hangs")

        assert len(model.requests) == 2, "the model was asked after the cancel"
        assert states() == {"first": "succeeded", "second": "unknown_outcome"}
        assert "Tool calls that succeeded: ledger__append." in body["report"]
        assert "outcome of these tool calls is unknown" in body["report"]
        assert body["report"].rstrip(".").endswith("ledger__append_and_hang")

        assert post(service, task_id, "retry").status_code == 202
        after = service.wait(task_id)
        assert after["status"] == "COMPLETED"
        assert "may or may not have happened" in model.requests[2].json["messages"][-2]["content"]

    assert "ledger__append_and_hang" in after["report"]
    assert Counter(ledger.entries) == {"first": 1, "second": 1}
    assert states() == {"first": "succeeded", "second": "unknown_outcome"}


def states() -> dict[str, str]:
    """Return the state of the call that was to write each line."""
    calls = ToolCall.objects.exclude(server="")
    return {json.loads(call.arguments)["text"]: call.state for call in calls}


def test_a_task_that_waits_for_its_next_attempt_ends_in_the_answer_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy_after_one_step(request: Recorded) -> Reply:
        if request.json["messages"][-1]["role"] != "tool":
            return ask(FIRST)
        return plain({"error": {"message": "busy"}}, status=429, retry_after="600")

    with stage(tmp_path, monkeypatch, busy_after_one_step) as (service, ledger, model):
        task_id = service.submit("Write.")
        eventually(lambda: service.poll(task_id)["next_attempt_at"], what="the wait")
        asked = len(model.requests)

        answer = post(service, task_id, "cancel")

        body = answer.json()
        assert (answer.status_code, body["status"]) == (202, "INCOMPLETE")
        assert (body["stop_reason"], body["next_attempt_at"]) == ("cancelled", None)
        assert "Tool calls that succeeded: ledger__append." in body["report"]
        assert service.cluster.stop() == 0
        assert service.poll(task_id) == body
        assert len(model.requests) == asked
    assert ledger.entries == ["first"]


def test_a_failed_task_goes_on_from_its_step_and_repeats_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage(tmp_path, monkeypatch) as (service, ledger, model):
        no_credit = plain({"error": {"message": "no credit", "code": 402}}, status=402)
        second = ("ledger__append", {"text": "second"})
        model.script(ask(FIRST), no_credit, ask(second), say("Both are written."))
        task_id = service.submit("Write.")
        failed = service.wait(task_id)
        assert failed["status"] == "FAILED"
        assert failed["error"] == (
            "The model provider wants to be paid (HTTP 402); add credit, or raise the key's "
            "limit: no credit."
        )
        assert failed["report"] == (
            "The agent wrote no report; this account is the engine's. It stopped because the task "
            f"failed: {failed['error']} Tool calls that succeeded: ledger__append."
        )
        assert failed["result"] == {
            "text": failed["report"],
            "tool_calls_made": 1,
            "hit_iteration_limit": False,
            "final_report_produced": False,
        }

        answer = post(service, task_id, "retry")

        assert (answer.status_code, answer.json()["status"]) == (202, "PENDING")
        assert (answer.json()["error"], answer.json()["report"]) == (None, None)
        body = service.wait(task_id)
        assert post(service, task_id, "retry").json()["code"] == "not_retryable"

    assert (body["status"], body["report"]) == ("COMPLETED", "Both are written.")
    assert ledger.entries == ["first", "second"]
    assert len(set(ledger.keys)) == 2
    before, resumed = (model.requests[index].json["messages"] for index in (1, 2))
    # The first message tells the time, which goes on between the two runs.
    assert resumed[1 : len(before)] == before[1:], "the retry does not see the run before it"
    assert [each["role"] for each in resumed[len(before) :]] == ["user"]
    assert "The last run of this task ended because the task failed" in resumed[-1]["content"]
    assert len(model.requests) == 4
    steps = sorted(Step.objects.values_list("run_number", "index"))
    assert steps == [(1, 1), (2, 1), (2, 2)]
    kinds = list(Event.objects.order_by("sequence").values_list("kind", flat=True))
    assert kinds == ["started", "failed", "retried", "resumed", "completed"]


def test_many_at_once_end_a_queued_task_once_and_start_its_next_run_once(
    transactional_db: None,
) -> None:
    account = make_account("acme")

    async def twenty(address: str, action: str) -> list[httpx.Response]:
        async with httpx.AsyncClient(headers=account.bearer, trust_env=False, timeout=60) as client:
            return list(
                await asyncio.gather(*(client.post(f"{address}/{action}") for _ in range(20)))
            )

    with running_web(database=database_url()) as web:
        api = f"{web.address}/api/v1/agent-task"
        submitted = httpx.post(api, headers=account.bearer, json=account.body(), trust_env=False)
        task = f"{api}/{submitted.json()['task_id']}"
        cancels = asyncio.run(twenty(task, "cancel"))
        retries = asyncio.run(twenty(task, "retry"))

    assert Counter(each.status_code for each in cancels) == {202: 1, 200: 19}
    assert len({each.text for each in cancels}) == 1
    assert "Nothing had been done." in cancels[0].json()["report"]
    assert Counter(each.status_code for each in retries) == {202: 1, 409: 19}
    assert AgentTask.objects.get().run_number == 2
    kinds = list(Event.objects.order_by("sequence").values_list("kind", flat=True))
    assert kinds == ["incomplete", "retried"]
