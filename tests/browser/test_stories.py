"""The stories of support staff, in a browser, against the web process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import Permission, User
from django.utils import timezone
from playwright.sync_api import Page, expect

from caylex_project.accounts.models import AuditEntry
from tasks_app.models import AgentTask
from tasks_app.operations.bulk import process_bulk_batch
from tests.browser.support_day import Scene
from tests.support.cluster import database_url
from tests.support.web_process import running_web

os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # playwright keeps a loop on this thread
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
LIST = "/admin/tasks_app/agenttask/"
PASSWORD = "a-long-password"


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> Iterator[str]:
    """Where the admin is, without the proxy that speaks TLS."""
    monkeypatch.setenv("DEBUG", "1")
    with running_web(database=database_url()) as web:
        yield web.address


def sign_in(page: Page, address: str, *codenames: str) -> None:
    user = User.objects.create_user("ada", password=PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    page.goto(f"{address}/admin/login/?next={LIST}")
    page.fill("#id_username", "ada")
    page.fill("#id_password", PASSWORD)
    page.click("[type=submit]")
    expect(page.locator(".counters")).to_be_visible()


def violations(page: Any) -> list[Any]:
    """Return what axe finds; the styles that it tries itself are refused like anybody's."""
    before = len(page.refused)
    found = Axe().run(page).response["violations"]
    del page.refused[before:]
    return [(page.url, each["id"], each["nodes"][0]["html"]) for each in found]


def test_an_operator_finds_watches_cancels_and_retries(address: str, page: Page) -> None:
    scene = Scene(timezone.now())
    done, busy = scene.play()
    failed = AgentTask.objects.filter(status="FAILED").first()
    assert failed is not None
    sign_in(page, address, "view_agenttask", "change_agenttask", "view_payload")

    page.fill("#searchbar", "Ruth@example.com")
    page.keyboard.press("Enter")
    expect(page.locator(f'a[href*="{busy.pk}"]')).to_be_visible()
    page.fill("#searchbar", str(done.pk)[:8])
    page.keyboard.press("Enter")
    expect(page.locator("#result_list tbody tr")).to_have_count(1)

    page.goto(f"{address}{LIST}{busy.pk}/change/")
    expect(page.locator(".standing")).to_contain_text("waiting for bank: statement for")
    assert page.locator("pre").count() == 0
    page.fill("[name=reason]", "Ruth asks where it is")
    page.click("text=Show payloads")
    page.click("details:has-text('What the model said') summary")
    AgentTask.objects.filter(pk=busy.pk).update(
        status="COMPLETED",
        worker=None,
        stop_reason="final_report",
        report="# All paid",
        completed_at=timezone.now(),
        sequence=9,
    )
    expect(page.locator(".report h3")).to_have_text("All paid")
    expect(page.locator(".standing")).to_have_text("Finished: the agent has reported.")
    expect(page.locator("#step-1-1-1")).to_have_attribute("open", "")

    again = AgentTask.objects.get(attempt=2)
    page.goto(f"{address}{LIST}{again.pk}/change/")
    expect(page.locator(".standing")).to_contain_text("Waiting to try step 1 again in ")
    expect(page.locator(".standing")).to_contain_text("after attempt 2: HTTP 429")

    waiting = AgentTask.objects.filter(status="PENDING", attempt=0).earliest("next_attempt_at")
    page.goto(f"{address}{LIST}{waiting.pk}/change/")
    expect(page.locator(".standing")).to_contain_text("Waiting for a free slot")
    page.click("text=Cancel")
    page.fill("#id_reason", "Jane asked for it")
    page.click("[type=submit][value=Cancel]")
    expect(page.locator("h1 .state")).to_have_text("INCOMPLETE")

    page.goto(f"{address}{LIST}{failed.pk}/change/")
    page.click("text=Retry")
    page.fill("#id_reason", "There is credit again")
    page.click("[type=submit][value=Retry]")
    expect(page.locator("h1 .state")).to_have_text("PENDING")


def test_six_hundred_are_cancelled_after_one_question(address: str, page: Page) -> None:
    now = timezone.now()
    scene = Scene(now)
    first = scene.task(0, ago=900)
    names = [each.attname for each in AgentTask._meta.concrete_fields if each.attname != "id"]
    fields = {name: getattr(first, name) for name in names}
    AgentTask.objects.bulk_create(AgentTask(**fields) for _ in range(600))
    kept = scene.ended(1, ago=800, took=9)
    sign_in(page, address, "view_agenttask", "change_agenttask")

    page.goto(f"{address}{LIST}?status=queued")
    page.check("#action-toggle")
    page.click("text=Select all that match")
    page.select_option("[name=action]", "cancel_tasks")
    page.click("button[name=index]")
    expect(page.locator("h1")).to_have_text("Cancel 601 tasks?")
    page.fill("#id_reason", "The import was started twice")
    page.click("[type=submit][value=Cancel]")
    expect(page.locator(".standing")).to_contain_text("0 of 601 are through.")
    assert AgentTask.objects.filter(status="PENDING").count() == 601
    process_bulk_batch(now=now)
    expect(page.locator("progress")).to_have_attribute("value", "20")
    assert violations(page) == []
    while process_bulk_batch(now=now):
        pass
    expect(page.locator(".standing")).to_have_text("All 601 are through.")
    expect(page.locator(".tiles dd")).to_have_text(["601"])

    assert AgentTask.objects.filter(stop_reason="cancelled").count() == 601
    kept.refresh_from_db()
    assert kept.status == "COMPLETED"
    assert (
        AuditEntry.objects.filter(action="cancel", reason__startswith="The import").count() == 601
    )


def test_a_viewer_sees_no_payload(address: str, page: Page) -> None:
    done, _ = Scene(timezone.now()).play()
    sign_in(page, address, "view_agenttask")

    assert "Review last week" not in page.content()
    page.goto(f"{address}{LIST}{done.pk}/change/")

    expect(page.locator(".timeline tbody tr")).to_have_count(9)
    assert "Review" not in page.content()
    assert page.locator("pre").count() == 0
    assert page.locator(".task-actions a").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_anybody_s_way(address: str, page: Page, scheme: Any) -> None:
    done, busy = Scene(timezone.now()).play()
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{address}/admin/login/")
    found = violations(page)
    sign_in(page, address, "view_agenttask", "change_agenttask", "view_payload")

    for path in ("", f"{done.pk}/change/", f"{busy.pk}/change/", f"cancel/?task={busy.pk}"):
        page.goto(f"{address}{LIST}{path}")
        found += violations(page)
    assert found == []
    page.set_viewport_size({"width": 320, "height": 800})
    page.goto(f"{address}{LIST}{done.pk}/change/")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
