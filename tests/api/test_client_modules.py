"""The two client modules to copy, each driven by a script against a real web process."""

from __future__ import annotations

import atexit
import datetime
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from standardwebhooks import Webhook

from tasks_app.models import AgentTask
from tests.api.cutting import cutting
from tests.api.test_clients import CLIENTS, NODE
from tests.api.test_poll import ended, make_task
from tests.support.accounts import Account, make_account
from tests.support.cluster import database_url
from tests.support.journal_rows import ENDING, a_step, claim, commit, lived
from tests.support.web_process import Web, running_web

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

PYTHON_HEAD = """
import json, os, sys
from caylex_tasks import BadSignature, Caylex, CaylexError, verify_webhook
caylex = Caylex(os.environ["URL"], token=os.environ["TOKEN"], api_key=os.environ["KEY"])
given = json.loads(sys.stdin.read())
def show(**said): print(json.dumps(said))
"""
NODE_HEAD = """
import { readFileSync } from "node:fs";
const module = await import(`${process.env.COMPILED}/caylex_tasks.js`);
const { Caylex, verifyWebhook } = module;
const { URL: url, TOKEN: token, KEY: apiKey } = process.env;
const caylex = new Caylex(url, { token, apiKey });
const given = JSON.parse(readFileSync(0, "utf8"));
const show = (said) => console.log(JSON.stringify(said));
"""
SCRIPTS = {
    "main job": (
        """
fields = dict(user_email="jane@example.com", prompt="Count.")
first = caylex.submit(**fields, idempotency_key="order 17")
again = caylex.submit(**fields, idempotency_key="order 17")
types = [event["type"] for event in caylex.events(first)]
task = caylex.wait(first, timeout=60)
over = caylex.cancel(first, reason="late")
show(ids=[first, again], types=types, report=task["report"], over=over["status"])
""",
        """
const fields = { user_email: "jane@example.com", prompt: "Count." };
const first = await caylex.submit(fields, { idempotencyKey: "order 17" });
const again = await caylex.submit(fields, { idempotencyKey: "order 17" });
const types = [];
for await (const event of caylex.events(first)) types.push(event.type);
const task = await caylex.wait(first, { timeout: 60 });
const over = await caylex.cancel(first, { reason: "late" });
show({ ids: [first, again], types, report: task.report, over: over.status });
""",
    ),
    "wait": (
        """
task_id = caylex.submit(user_email="jane@example.com", prompt="Count.")
show(report=caylex.wait(task_id, timeout=60)["report"])
""",
        """
const id = await caylex.submit({ user_email: "jane@example.com", prompt: "Count." });
show({ report: (await caylex.wait(id, { timeout: 60 })).report });
""",
    ),
    "events": (
        'show(ids=[event["id"] for event in caylex.events(given["task"])])',
        """
const ids = [];
for await (const event of caylex.events(given.task)) ids.push(event.id);
show({ ids });
""",
    ),
    "retry": (
        """
status = caylex.retry(given["task"])["status"]
try:
    caylex.retry(given["task"])
except CaylexError as error:
    show(status=status, refused=[error.status, error.code, bool(error.request_id)])
""",
        """
const { status } = await caylex.retry(given.task);
const error = await caylex.retry(given.task).catch((error) => error);
show({ status, refused: [error.status, error.code, error.requestId !== ""] });
""",
    ),
    "all verbs": (
        """
task = given["task"]
again = [caylex.retry(task, limits={"max_steps": 7}, idempotency_key="r")["limits"]["max_steps"]
         for _ in range(2)]
stopped = caylex.cancel(task, reason="enough")["stop_reason"]
more = caylex.continue_task(task, "Go on.", limits={"max_steps": 8})["limits"]["max_steps"]
caylex.cancel(task, idempotency_key="c")
fresh = caylex.rerun(task)
changed = caylex.change_metadata(fresh, {"order": "18", "draft": None})["metadata"]
found = [each["task_id"] for each in caylex.tasks(metadata={"order": "18"}, status="PENDING")]
page = caylex.events_page(task, limit=2)
rest = caylex.events_page(task, after=page["next_starting_after"])
session = caylex.get(task)["session_id"]
said = [each["message_type"] for each in caylex.transcript(task)]
groups = [len(each["tool_calls"]) for each in caylex.trace(session)]
caylex.delete(task)
try:
    caylex.get(task)
except CaylexError as error:
    gone = error.code
show(again=again, stopped=stopped, more=more, fresh=fresh, changed=changed, found=found,
     events=[len(page["events"]), rest["events"][0]["id"]], said=said, groups=groups, gone=gone)
""",
        """
const { task } = given;
const again = [];
for (let n = 0; n < 2; n += 1) {
  const retried = await caylex.retry(task, { limits: { max_steps: 7 }, idempotencyKey: "r" });
  again.push(retried.limits.max_steps);
}
const stopped = (await caylex.cancel(task, { reason: "enough" })).stop_reason;
const on = await caylex.continueTask(task, "Go on.", { limits: { max_steps: 8 } });
await caylex.cancel(task, { idempotencyKey: "c" });
const fresh = await caylex.rerun(task);
const changed = (await caylex.changeMetadata(fresh, { order: "18", draft: null })).metadata;
const found = [];
for await (const each of caylex.tasks({ metadata: { order: "18" }, status: "PENDING" }))
  found.push(each.task_id);
const page = await caylex.eventsPage(task, { limit: 2 });
const rest = await caylex.eventsPage(task, { after: page.next_starting_after });
const said = [];
for await (const each of caylex.transcript(task)) said.push(each.message_type);
const groups = [];
for await (const each of caylex.trace((await caylex.get(task)).session_id))
  groups.push(each.tool_calls.length);
await caylex.delete(task);
const gone = (await caylex.get(task).catch((error) => error)).code;
show({ again, stopped, more: on.limits.max_steps, fresh, changed, found,
  events: [page.events.length, rest.events[0].id], said, groups, gone });
""",
    ),
    "refusal": (
        """
try:
    caylex.submit(user_email="jane@example.com", promt="Count.")
except CaylexError as error:
    show(status=error.status, code=error.code, detail=error.detail, errors=error.errors,
         told=error.detail in str(error) and error.request_id in str(error))
""",
        """
const fields = { user_email: "jane@example.com", promt: "Count." };
const error = await caylex.submit(fields).catch((error) => error);
show({ status: error.status, code: error.code, detail: error.detail, errors: error.errors,
  told: error.message.includes(error.detail) && error.message.includes(error.requestId) });
""",
    ),
    "pages": (
        'show(ids=[each["task_id"] for each in caylex.tasks(size=2)])',
        """
const ids = [];
for await (const each of caylex.tasks({ size: 2 })) ids.push(each.task_id);
show({ ids });
""",
    ),
    "timeout": (
        """
try:
    caylex.wait(given["task"], timeout=1)
except TimeoutError:
    show(late=True)
""",
        """
const said = await caylex.wait(given.task, { timeout: 1 }).catch(String);
show({ late: said.includes("in time") });
""",
    ),
    "webhooks": (
        """
def told(headers, body):
    try:
        return verify_webhook(given["secret"], headers, body.encode(), now=given["now"])["type"]
    except BadSignature as error:
        return str(error)
show(told=[told(*each) for each in given["sent"]])
""",
        """
const told = ([headers, body]) => {
  try {
    return verifyWebhook(given.secret, headers, Buffer.from(body), { now: given.now }).type;
  } catch (error) {
    if (error instanceof module.BadSignature) return error.message;
    throw error;
  }
};
show({ told: given.sent.map(told) });
""",
    ),
}


@pytest.fixture
def account(transactional_db: None) -> Account:
    """An account that other processes can see."""
    return make_account("acme")


@pytest.fixture(scope="module")
def web(django_db_setup: None) -> Iterator[Web]:
    """A web process on the tests' database."""
    with running_web(database=database_url()) as running:
        yield running


@contextmanager
def working() -> Iterator[None]:
    """Claim each task that appears and end it with a report, as a worker would."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            for task in AgentTask.objects.filter(status="PENDING"):
                claim(task)
                commit(task, step=a_step(1), release=ENDING)
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@functools.cache
def _compiled() -> Path:
    """Compile the TypeScript client as strictly as its compiler can; return the folder."""
    peers = Path(os.environ.get("CAYLEX_PEERS", "")) / "node_modules"
    if NODE is None or not (peers / "typescript").exists():
        pytest.skip("TypeScript NOT RUN: it needs node and `make install-peers` (CAYLEX_PEERS)")
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    source = shutil.copy(CLIENTS / "caylex_tasks.ts", folder)
    options = ("--strict", "--noUnusedLocals", "--erasableSyntaxOnly", "--target", "es2022")
    modules = ("--module", "nodenext", "--types", "node", "--typeRoots", peers / "@types")
    done = subprocess.run(
        [NODE, peers / "typescript/bin/tsc", *options, *modules, source],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
    return folder


def run(language: int, script: str, account: Account, url: str, **given: Any) -> dict[str, Any]:
    """Run a script in one of the two languages and return what it shows."""
    code = (PYTHON_HEAD, NODE_HEAD)[language] + SCRIPTS[script][language]
    command = ([sys.executable, "-c"], [NODE or "node", "--input-type=module", "-e"])[language]
    done = subprocess.run(
        [*command, code],
        input=json.dumps(given),
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(CLIENTS),
            "COMPILED": str(_compiled()) if language else "",
            "URL": f"{url}/api/v1/",
            "TOKEN": account.token,
            "KEY": account.key,
        },
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


@pytest.mark.parametrize(
    "language",
    [pytest.param(0, id="python"), pytest.param(1, id="typescript")],
)
class TestModule:
    """Both behave alike."""

    def test_it_submits_once_follows_the_events_and_gets_the_report(
        self, language: int, web: Web, account: Account
    ) -> None:
        with working():
            shown = run(language, "main job", account, web.address)

        task = AgentTask.objects.get()
        assert shown == {
            "ids": [str(task.id)] * 2,
            "types": [
                *("agent_task.created", "agent_task.started"),
                *("agent_task.step.completed", "agent_task.completed"),
            ],
            "report": "Counted 61.",
            "over": "COMPLETED",
        }

    def test_it_waits_for_the_end(self, language: int, web: Web, account: Account) -> None:
        with working():
            assert run(language, "wait", account, web.address) == {"report": "Counted 61."}

    def test_it_gives_up_waiting_when_it_was_told_to(
        self, language: int, web: Web, account: Account
    ) -> None:
        task = make_task(account)
        shown = run(language, "timeout", account, web.address, task=str(task.id))

        assert shown == {"late": True}

    def test_a_stream_that_is_cut_again_and_again_tells_each_event_once(
        self, language: int, web: Web, account: Account
    ) -> None:
        task = make_task(account)
        claim(task)
        for index in range(1, 40):
            commit(task, step=a_step(index))
        commit(task, step=a_step(40), release=ENDING)
        with cutting(web.port, cuts=5, seed=20261125) as proxy:
            shown = run(language, "events", account, proxy.address, task=str(task.id))

        assert proxy.done == 5
        assert shown == {"ids": list(range(43))}

    def test_it_retries_a_task_and_tells_why_not(
        self, language: int, web: Web, account: Account
    ) -> None:
        task = ended(account, status="FAILED", stop_reason="error", error="No credit.")
        shown = run(language, "retry", account, web.address, task=str(task.id))

        assert shown == {"status": "PENDING", "refused": [409, "not_retryable", True]}
        task.refresh_from_db()
        assert task.run_number == 2

    def test_it_has_all_that_the_service_does(
        self, language: int, web: Web, account: Account
    ) -> None:
        task = lived(account)
        AgentTask.objects.filter(pk=task.pk).update(
            status="FAILED",
            stop_reason="error",
            error="No credit.",
            final_report_produced=False,
            metadata={"order": "17"},
        )
        shown = run(language, "all verbs", account, web.address, task=str(task.id))

        fresh = AgentTask.objects.get()  # the other one was deleted
        assert shown == {
            "again": [7, 7],
            "stopped": "cancelled",
            "more": 8,
            "fresh": str(fresh.id),
            "changed": {"order": "18"},
            "found": [str(fresh.id)],
            "events": [2, 2],
            "said": ["user_message", "tool_calls", *["tool_result"] * 3, "assistant_message"],
            "groups": [3],
            "gone": "task_not_found",
        }

    def test_it_pages_through_all_tasks(self, language: int, web: Web, account: Account) -> None:
        tasks = [make_task(account) for _ in range(5)]
        shown = run(language, "pages", account, web.address)

        assert sorted(shown["ids"]) == sorted(str(each.id) for each in tasks)

    def test_a_refusal_names_every_field_that_is_wrong(
        self, language: int, web: Web, account: Account
    ) -> None:
        shown = run(language, "refusal", account, web.address)

        required = "This field is required."
        unknown = "This field is not known here."
        assert shown == {
            "status": 400,
            "code": "invalid_request",
            "detail": f"2 fields: prompt: {required} promt: {unknown}",
            "errors": [
                {"field": "prompt", "code": "required", "message": required},
                {"field": "promt", "code": "unknown_field", "message": unknown},
            ],
            "told": True,
        }

    def test_it_knows_a_true_webhook_from_a_false_one(
        self, language: int, web: Web, account: Account
    ) -> None:
        secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", '{"type": "agent_task.completed"}'
        at = datetime.datetime(2026, 6, 18, 15, tzinfo=datetime.UTC)
        now = int(at.timestamp())
        true = Webhook(secret).sign("msg_1", at, body)

        def headers(signature: str = true, **changed: str) -> dict[str, str]:
            plain = {"Webhook-Id": "msg_1", "webhook-timestamp": str(now)}
            return {**plain, "webhook-signature": signature, **changed}

        others = [Webhook(secret).sign("msg_1", at + each, body) for each in _FIVE_MINUTES]
        shown = run(
            language,
            "webhooks",
            account,
            web.address,
            secret=secret,
            now=now,
            sent=[
                (headers(), body),
                (headers(f"v1,AAAA v1a,x {true}"), body),
                (headers(), body + " "),
                (headers(**{"Webhook-Id": "msg_2"}), body),
                (headers("v2" + true[2:]), body),
                (headers(""), body),
                (headers(others[0], **{"webhook-timestamp": str(now - 301)}), body),
                (headers(others[1], **{"webhook-timestamp": str(now + 301)}), body),
                (headers(others[2], **{"webhook-timestamp": str(now - 300)}), body),
                (headers(**{"webhook-timestamp": "soon"}), body),
            ],
        )

        good, none = "agent_task.completed", "No signature fits."
        late = "The webhook is too old, or the clocks differ."
        assert shown["told"] == [
            *(good, good, none, none, none, none, late, late, good),
            "There is no webhook-timestamp.",
        ]


_FIVE_MINUTES = [datetime.timedelta(seconds=each) for each in (-301, 301, -300)]
