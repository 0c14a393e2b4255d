"""A web process and chromium, once for all stories; where there is no chromium, none is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.screenshots import CHROMIUM


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    from pathlib import Path

    if not Path(CHROMIUM).exists():
        for item in items:
            if "tests/browser/" in item.nodeid:
                item.add_marker(pytest.mark.skip(reason=f"needs {CHROMIUM}"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a screen."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page whose violations of the policy are kept in `page.refused`."""
    # Nothing fades: a colour between two schemes is none that anybody reads.
    page: Any = browser.new_page(viewport={"width": 1440, "height": 1000}, reduced_motion="reduce")
    page.refused = []
    page.on(
        "console",
        lambda line: "Content Security Policy" in line.text and page.refused.append(line.text),
    )
    yield page
    page.close()
    assert page.refused == []
