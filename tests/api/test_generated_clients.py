"""Clients that other people's generators make of our description: made without a warning, used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks_app.api.openapi.docs_page import openapi_yaml
from tasks_app.models import AgentTask
from tests.support.accounts import Account, make_account
from tests.support.cluster import database_url
from tests.support.web_process import Web, running_web

pytestmark = [
    pytest.mark.peer,
    pytest.mark.postgresql,
    pytest.mark.django_db(transaction=True),
]

PYTHON = """
import json, os
from caylex_agent_tasks_client import AuthenticatedClient
from caylex_agent_tasks_client.api.agent_tasks import (
    cancel_agent_task, get_agent_task, list_agent_tasks, submit_agent_task)
from caylex_agent_tasks_client.models import (
    CancelRequest, ListAgentTasksMetadata, ProblemResponse, RunLimits, SubmitRequest,
    SubmitRequestMetadata)

client = AuthenticatedClient(base_url=os.environ["URL"], token=os.environ["TOKEN"],
                             raise_on_unexpected_status=True)
fields = dict(caylex_api_key=os.environ["KEY"], user_email="jane@example.com", prompt="Count.")
least = submit_agent_task.sync(client=client, body=SubmitRequest(**fields))
body = SubmitRequest(**fields, metadata=SubmitRequestMetadata.from_dict({"order": "17"}),
                     limits=RunLimits(max_steps=3))
ids = [submit_agent_task.sync(client=client, body=body, idempotency_key="one").task_id
       for _ in range(2)]
polled = get_agent_task.sync(ids[0], client=client)
reason = CancelRequest(reason="Found them.")
cancelled = cancel_agent_task.sync(ids[0], client=client, body=reason)
listed = list_agent_tasks.sync(client=client, metadata=ListAgentTasksMetadata.from_dict({}))
refused = submit_agent_task.sync(client=client, body=SubmitRequest(**fields, skill_ref="none"))
assert isinstance(refused, ProblemResponse)
client.get_httpx_client().close()
print(json.dumps({
    "least": str(least.task_id), "ids": [str(each) for each in ids],
    "polled": [polled.status, polled.limits.max_steps, polled.metadata.to_dict()],
    "cancelled": [cancelled.status, cancelled.stop_reason],
    "listed": sorted(str(each.task_id) for each in listed.items),
    "refused": refused.code,
}))
"""

TYPESCRIPT = """
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const { URL: baseUrl, TOKEN, KEY } = process.env;
const headers = { Authorization: `Bearer ${TOKEN}` };
const client = createClient<paths>({ baseUrl: baseUrl!, headers });
const fields = { caylex_api_key: KEY!, user_email: "jane@example.com", prompt: "Count." };

async function submit(more: { metadata?: Record<string, string>; limits?: { max_steps: number } }) {
  const headers = more.limits ? { "Idempotency-Key": "one" } : {};
  const { data, error } = await client.POST("/api/v1/agent-task", {
    body: { ...fields, ...more },
    params: { header: headers },
  });
  if (error) throw new Error(error.detail);
  return data.task_id;
}

const least = await submit({});
const more = { metadata: { order: "17" }, limits: { max_steps: 3 } };
const ids = [await submit(more), await submit(more)];
const path = { task_id: ids[0] };
const polled = (await client.GET("/api/v1/agent-task/{task_id}", { params: { path } })).data!;
const cancelled = (
  await client.POST("/api/v1/agent-task/{task_id}/cancel", {
    params: { path },
    body: { reason: "Found them." },
  })
).data!;
const listed = (await client.GET("/api/v1/agent-task", { params: { query: { size: 10 } } })).data!;
const refused = await client.POST("/api/v1/agent-task", {
  body: { ...fields, skill_ref: "none" },
});
console.log(
  JSON.stringify({
    least,
    ids,
    polled: [polled.status, polled.limits.max_steps, polled.metadata],
    cancelled: [cancelled.status, cancelled.stop_reason],
    listed: listed.items.map((each) => each.task_id).sort(),
    refused: refused.error?.code,
  }),
);
"""


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    """Run a program that has to succeed; return all that it said."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "NO_COLOR": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def peers() -> Path:
    """Where the generators are."""
    folder = os.environ.get("CAYLEX_PEERS", "")
    found = Path(folder).absolute()
    if not folder or not (found / "venv/bin/openapi-python-client").exists():
        pytest.skip("generated clients NOT RUN: they need `make install-peers` (CAYLEX_PEERS)")
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the description in it."""
    (tmp_path / "openapi.yaml").write_bytes(openapi_yaml())
    return tmp_path


@pytest.fixture
def account(transactional_db: None) -> Account:
    """An account that other processes can see."""
    return make_account("acme")


@pytest.fixture
def web(account: Account) -> Iterator[Web]:
    """A web process on the test's own database."""
    with running_web(database=database_url()) as running:
        yield running


def check(said: dict[str, Any]) -> None:
    """Check what a client's script did, by the rows and by what it was answered."""
    tasks = {str(task.pk): task for task in AgentTask.objects.all()}
    first, again = said["ids"]
    assert first == again
    assert set(tasks) == {said["least"], first}
    assert said["polled"] == ["PENDING", 3, {"order": "17"}]
    assert said["cancelled"] == ["INCOMPLETE", "cancelled"]
    assert said["listed"] == sorted(tasks)
    assert said["refused"] == "skill_not_found"
    assert (tasks[first].status, tasks[first].cancel_reason) == ("INCOMPLETE", "Found them.")
    assert tasks[said["least"]].status == "PENDING"


def test_openapi_python_client_warns_of_nothing_and_its_client_works(
    peers: Path, folder: Path, web: Web, account: Account
) -> None:
    python = peers / "venv/bin/python"
    (folder / "config.yaml").write_text("post_hooks: []\n")
    generate = ("-m", "openapi_python_client", "generate", "--fail-on-warning")
    options = ("--path", "openapi.yaml", "--config", "config.yaml", "--output-path", "client")
    said = run(python, *generate, *options, folder=folder)
    assert said.strip() == "Generating client"

    environment = {"URL": web.address, "TOKEN": account.token, "KEY": account.key}
    printed = run(
        *(python, "-W", "error", "-c", PYTHON),
        folder=folder,
        PYTHONPATH=str(folder / "client"),
        **environment,
    )
    check(json.loads(printed))


def test_openapi_typescript_compiles_strictly_and_its_client_works(
    peers: Path, folder: Path, web: Web, account: Account
) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("generated TypeScript NOT RUN: it needs node")
    modules = peers / "node_modules"
    (folder / "node_modules").symlink_to(modules)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "main.ts").write_text(TYPESCRIPT)
    generator = modules / "openapi-typescript/bin/cli.js"
    said = run(node, generator, "openapi.yaml", "--output", "schema.d.ts", folder=folder)
    assert "arning" not in said

    strict = ("--strict", "--noUnusedLocals", "--exactOptionalPropertyTypes", "--target", "es2022")
    compiler = (node, modules / "typescript/bin/tsc", "--module", "nodenext", "--types", "node")
    assert run(*compiler, *strict, "main.ts", folder=folder) == ""

    environment = {"URL": web.address, "TOKEN": account.token, "KEY": account.key}
    check(json.loads(run(node, "main.js", folder=folder, **environment)))
