"""The main job as the README promises it: real workers, a real tool server, a real skill.

The two clients in `docs/clients` are written from the published contract alone, a third one from
its newest form; they run here unchanged but for the address.
"""

import csv
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from demo.make_tickets import ANCHOR
from demo.run import PROMPT, free_port, wait_for
from tasks_app.models import AgentTask, Step, ToolCall
from tests.support import fork_server
from tests.support.fork_server import ROOT
from tests.support.service import Service, provision, running_service

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

OFFLINE = "offline/fixed-policy"
CLIENTS = {
    "python": [sys.executable, "docs/clients/agent_task.py"],
    "javascript": ["node", "docs/clients/agent_task.mjs"],
    "newest": [sys.executable, "-m", "tests.system.e2e.newest_client"],
}


@contextmanager
def process(*command: str) -> Iterator[None]:
    running = fork_server.start("-m", *command, stderr=2)
    try:
        yield
    finally:
        running.terminate()
        running.wait(30)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    tools, model = free_port(), free_port()
    monkeypatch.setenv("OPENROUTER_BASE_URL", f"http://127.0.0.1:{model}/v1")
    monkeypatch.setenv("CAYLEX_ALLOWED_MODELS", OFFLINE)
    monkeypatch.setenv("CAYLEX_DEFAULT_MODEL", OFFLINE)
    keys = provision(
        tmp_path,
        {
            "servers": [
                {
                    "name": "tickets",
                    "url": f"http://127.0.0.1:{tools}/mcp",
                    "auth": {"kind": "bearer", "level": "user"},
                }
            ],
            "credentials": [
                {"user_email": "jane@example.com", "server": "tickets", "value": "janes-token"}
            ],
            "skills": [str(ROOT / "demo" / "skills" / "weekly-report")],
        },
    )
    with (
        process("demo.tool_server", "--port", str(tools), "--token", "jane=janes-token"),
        process("demo.offline_model.server", "--port", str(model)),
        running_service(keys) as service,
    ):
        wait_for(f"http://127.0.0.1:{tools}/mcp")
        wait_for(f"http://127.0.0.1:{model}/v1/models")
        yield service


def last_week() -> list[dict[str, str]]:
    """Return the tickets of the seven days before the demo's today, straight from the CSV."""
    first, end = ANCHOR - timedelta(days=7), ANCHOR
    with (ROOT / "demo" / "tickets.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        row
        for row in rows
        if first.date() <= datetime.fromisoformat(row["created_at"]).date() < end.date()
    ]


def figures(report: str, heading: str) -> dict[str, int]:
    """Return the counts that stand in the report under a heading."""
    section = report.partition(heading)[2].partition("\n\n")[0]
    return {name: int(count) for name, count in re.findall(r"^- (.+): (\d+)$", section, re.M)}


def test_the_report_agrees_with_the_data_and_the_skill_came_first(service: Service) -> None:
    body = service.wait(service.submit(PROMPT, skill_ref="weekly-report"))
    assert (body["status"], body["stop_reason"], body["model"]) == (
        "COMPLETED",
        "final_report",
        OFFLINE,
    )
    for field in ("category", "status", "product"):
        expected = dict(Counter(row[field] for row in last_week()))
        assert figures(body["report"], f"tickets__count_by_field (field {field}") == expected
    first = ToolCall.objects.order_by("step__index", "index")[0]
    assert (first.name, first.state) == ("load_skill", "succeeded")
    assert body["result"]["tool_calls_made"] == ToolCall.objects.exclude(server="").count() > 3
    assert Step.objects.count() == body["progress"]["steps_completed"]


def test_a_finished_task_goes_on_with_a_further_instruction(service: Service) -> None:
    task_id = service.submit(PROMPT, skill_ref="weekly-report")
    first = service.wait(task_id)
    answer = httpx.post(
        f"{service.api}/agent-task/{task_id}/continue",
        headers=service.headers,
        json={"message": "Now say it again.", "limits": {"max_steps": 30}},
    )
    assert (answer.status_code, answer.json()["report"]) == (202, None)
    body = service.wait(task_id)
    assert (body["status"], body["session_id"]) == ("COMPLETED", first["session_id"])
    assert (body["limits"]["max_steps"], body["report"] != "") == (30, True)
    assert body["progress"]["steps_completed"] > first["progress"]["steps_completed"]
    assert Step.objects.get(run_number=2, index=1).request["notes"][-1] == "Now say it again."
    assert ToolCall.objects.filter(name="load_skill").count() == 1, "the skill stays loaded"


@pytest.mark.parametrize("language", CLIENTS)
def test_a_client_written_from_the_published_page_works(service: Service, language: str) -> None:
    done = subprocess.run(
        [*CLIENTS[language], "jane@example.com", PROMPT],
        cwd=ROOT,
        env={
            **os.environ,
            "CAYLEX_API_URL": f"{service.api}/",
            "CAYLEX_PLATFORM_TOKEN": service.keys["platform_access_token"],
            "CAYLEX_API_KEY": service.keys["caylex_api_key"],
            "CAYLEX_NAVIGATOR_API_KEY": service.keys["caylex_api_key"],
        },
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert body["status"] == "COMPLETED"
    assert body["report"] == AgentTask.objects.get().report
    if language == "newest":
        called = [(each["id"], each["tool"]["server"]["name"]) for each in body["trace"]]
        rows = ToolCall.objects.order_by("step__sequence", "index").values_list("id", "server")
        assert called == [(str(ident), server) for ident, server in rows]
        assert all(each["success"] for each in body["trace"])


def test_what_happened_is_in_the_admin(service: Service, admin_client: object) -> None:
    task_id = service.submit(PROMPT, skill_ref="weekly-report")
    service.wait(task_id)
    call = ToolCall.objects.filter(name="tickets__count_by_field")[0]
    for path, expected in {
        f"/admin/tasks_app/agenttask/{task_id}/change/": "COMPLETED",
        "/admin/tasks_app/step/": str(Step.objects.count()),
        f"/admin/tasks_app/toolcall/{call.id}/change/": "tickets__count_by_field",
    }.items():
        answer = admin_client.get(path, secure=True)  # type: ignore[attr-defined]
        assert answer.status_code == 200
        assert expected in answer.content.decode()


def test_the_openapi_document_and_its_page_are_served_with_local_assets(service: Service) -> None:
    behind_tls = {"X-Forwarded-Proto": "https"}
    page = httpx.get(f"{service.api}/docs", headers=behind_tls)
    assert page.status_code == 200
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert assets
    for asset in assets:
        assert asset.startswith("/"), asset
        answer = httpx.get(f"{service.web.address}{asset}", headers=behind_tls)
        assert answer.status_code == 200, asset
    document = httpx.get(f"{service.api}/docs/openapi.yaml", headers=behind_tls)
    assert document.status_code == 200
    assert "/api/v1/agent-task" in document.text
