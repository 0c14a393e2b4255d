"""What support staff see while a real worker does the work."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_stories import LIST, sign_in
from tests.support.model_server import Reply, ScriptedModel, Until, ask, plain, say, stream
from tests.support.service import Ledger, Service
from tests.system.e2e.test_cancel import hang, stage

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(180),
]
SOON = 20_000.0  # milliseconds for a worker, and for the page to fetch what it did


def write(text: str) -> Reply:
    """Ask for a line in the ledger."""
    return ask(("ledger__append", {"text": text}))


def after(word: threading.Event, reply: Reply) -> Reply:
    """Keep a reply back until the word is given."""
    return stream(Until(word), *reply.parts, done=False)


class Desk:
    """A support person before a task's page, which is never loaded anew by itself."""

    def __init__(self, page: Page, service: Service) -> None:
        self._page = page
        self._service = service

    def submit_and_open(self, prompt: str) -> str:
        task_id = self._service.submit(prompt)
        self._page.goto(f"{self._service.web.address}{LIST}{task_id}/change/")
        self._page.evaluate("window.sameDocument = true")
        return task_id

    def act(self, verb: str, reason: str) -> None:
        """Do something with the task after the page that asks."""
        self._page.click(f".task-actions >> text={verb}")
        self._page.fill("#id_reason", reason)
        self._page.click(f"[type=submit][value={verb}]")
        self._page.evaluate("window.sameDocument = true")

    def sees(self, *, state: str, steps: int, saying: str = "") -> None:
        """Wait for it, and make sure that it came without a reload."""
        page = self._page
        expect(page.locator("h1 .state")).to_have_text(state, timeout=SOON)
        expect(page.locator(".timeline tr.step")).to_have_count(steps, timeout=SOON)
        expect(page.locator(".standing")).to_contain_text(saying, timeout=SOON)
        assert page.evaluate("window.sameDocument") is True


def test_an_operator_watches_cancels_and_retries_what_a_worker_runs(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEBUG", "1")
    with stage(tmp_path, monkeypatch) as (service, ledger, model):
        sign_in(page, service.web.address, "view_agenttask", "change_agenttask", "view_payload")
        desk = Desk(page, service)
        _watches_one_to_its_end(desk, ledger, model)
        _cancels_a_running_one(desk, model)
        _retries_one_that_goes_on_from_its_step(desk, ledger, model)


def _watches_one_to_its_end(desk: Desk, ledger: Ledger, model: ScriptedModel) -> None:
    second, last = threading.Event(), threading.Event()
    model.script(write("one"), after(second, write("two")), after(last, say("Both are written.")))
    desk.submit_and_open("Write two lines.")

    desk.sees(state="RUNNING", steps=1, saying="Step 2: waiting for the model's answer")
    second.set()
    desk.sees(state="RUNNING", steps=2, saying="Step 3: waiting for the model's answer")
    last.set()
    desk.sees(state="COMPLETED", steps=3, saying="Finished: the agent has reported.")
    assert ledger.entries == ["one", "two"]


def _cancels_a_running_one(desk: Desk, model: ScriptedModel) -> None:
    model.script(write("three"), hang())
    desk.submit_and_open("Write a third line.")

    desk.sees(state="RUNNING", steps=1, saying="Step 2: waiting for the model's answer")
    assert not model.hung_up.is_set()
    desk.act("Cancel", "Jane asked for it")
    desk.sees(state="INCOMPLETE", steps=1, saying="Stopped: the task was cancelled.")
    assert model.hung_up.is_set()


def _retries_one_that_goes_on_from_its_step(
    desk: Desk, ledger: Ledger, model: ScriptedModel
) -> None:
    paid = threading.Event()
    model.script(write("four"), plain({"error": {"message": "no credit"}}, status=402))
    desk.submit_and_open("Write a fourth line.")

    desk.sees(state="FAILED", steps=1, saying="Failed:")
    model.script(after(paid, say("The fourth is written.")))
    desk.act("Retry", "There is credit again")
    desk.sees(state="RUNNING", steps=1, saying="Step 2: waiting for the model's answer")
    paid.set()
    desk.sees(state="COMPLETED", steps=2, saying="Finished: the agent has reported.")
    assert ledger.entries == ["one", "two", "three", "four"]
