"""The two clients of the guide, against a real web process; a stand-in ends the task."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from django.utils import timezone

from tasks_app.models import AgentTask
from tests.support.accounts import Account, make_account
from tests.support.cluster import database_url
from tests.support.fork_server import ROOT
from tests.support.web_process import Web, running_web

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

CLIENTS = ROOT / "docs" / "clients"
NODE = shutil.which("node")
PYTHON = [sys.executable, str(CLIENTS / "agent_task.py")]
JAVASCRIPT = [NODE or "node", str(CLIENTS / "agent_task.mjs")]


@pytest.fixture
def account(transactional_db: None) -> Account:
    """An account that other processes can see."""
    return make_account("acme")


@pytest.fixture
def web(account: Account) -> Iterator[Web]:
    """A web process on the test's own database."""
    with running_web(database=database_url()) as running:
        yield running


@contextmanager
def ending(**fields: str) -> Iterator[None]:
    """End each task that appears, as a worker would."""
    stop = threading.Event()

    def end_tasks() -> None:
        while not stop.wait(0.05):
            AgentTask.objects.filter(status="PENDING").update(
                started_at=timezone.now(), completed_at=timezone.now(), **fields
            )
        connection.close()

    thread = threading.Thread(target=end_tasks)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def run(
    command: list[str], *arguments: str, web: Web, account: Account, key: str = ""
) -> tuple[int, str, str]:
    done = subprocess.run(
        [*command, *arguments],
        env={
            "PATH": os.environ["PATH"],
            "CAYLEX_API_URL": f"{web.address}/api/v1/",
            "CAYLEX_PLATFORM_TOKEN": account.token,
            "CAYLEX_API_KEY": key or account.key,
            "POLL_SECONDS": "0.05",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(PYTHON, id="python"),
        pytest.param(
            JAVASCRIPT,
            id="javascript",
            marks=pytest.mark.skipif(NODE is None, reason="node is not installed"),
        ),
    ],
)
class TestClient:
    """Both behave alike."""

    def test_it_submits_polls_and_prints_the_finished_task(
        self, command: list[str], web: Web, account: Account
    ) -> None:
        with ending(status="COMPLETED", stop_reason="final_report", report="Counted 142."):
            code, printed, said = run(
                command, "jane@example.com", "Count.", web=web, account=account
            )

        assert (code, said) == (0, "")
        task = json.loads(printed)
        assert (task["status"], task["report"]) == ("COMPLETED", "Counted 142.")
        assert task["task_id"] == str(AgentTask.objects.get().id)
        assert AgentTask.objects.get().prompt == "Count."

    def test_a_task_that_failed_is_no_success(
        self, command: list[str], web: Web, account: Account
    ) -> None:
        with ending(status="FAILED", stop_reason="error", error="No credit."):
            code, printed, _ = run(command, "jane@example.com", "Count.", web=web, account=account)

        assert code == 1
        assert json.loads(printed)["error"] == "No credit."

    def test_a_refusal_ends_it_with_a_reason(
        self, command: list[str], web: Web, account: Account
    ) -> None:
        code, printed, said = run(
            command, "jane@example.com", "Count.", "none", web=web, account=account
        )

        assert code != 0
        assert printed == ""
        assert "404" in said
        assert not AgentTask.objects.exists()
