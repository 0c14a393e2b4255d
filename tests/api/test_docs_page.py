"""The docs page in a real browser, under the strict policy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.support.web_process import Web, running_web

CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="browser tests NOT RUN: no chromium"),
]


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    """A web process; the page needs no database."""
    with running_web() as running:
        yield running


@pytest.fixture
def page() -> Iterator[Page]:
    """A browser's page that speaks like a proxy with HTTPS in front of us."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(extra_http_headers={"X-Forwarded-Proto": "https"})
        yield page
        browser.close()


def test_it_shows_both_endpoints_and_asks_nobody_else(web: Web, page: Page) -> None:
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))

    page.goto(f"{web.address}/api/v1/docs")
    page.get_by_text("/api/v1/agent-task", exact=True).first.wait_for()
    page.get_by_text("Submit a task").click()
    page.get_by_text("Count last week").first.wait_for()

    assert said == []
    own = (f"{web.address}/", "data:")
    assert [url for url in asked if not url.startswith(own)] == []


def test_the_type_of_a_problem_leads_to_what_its_code_means(web: Web, page: Page) -> None:
    page.goto(f"{web.address}/api/v1/docs#too_many_pending")
    page.get_by_text("Submit a task").wait_for()

    expect(page.locator("#too_many_pending")).to_be_in_viewport()
    expect(page.locator("#too_many_pending + dd")).to_contain_text("429. As many tasks wait")
