"""Servers in the admin: asked for their tools over real HTTP, and paused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User

from caylex_project.accounts.models import AuditEntry
from caylex_project.integrations import tool_discovery
from caylex_project.integrations.access import accesses_for
from caylex_project.integrations.credentials import store_credential
from caylex_project.integrations.models import ServerInstance
from demo.tool_server import Notes, make_app
from tests.accounts.test_admin import Browser, text_of
from tests.skills.test_skill_pages import staff
from tests.support.factories import (
    EndUserFactory,
    NavigatorFactory,
    ProjectFactory,
    ServerInstanceFactory,
)
from tests.support.tool_servers import RawServer, Seen, serving, status

pytestmark = pytest.mark.django_db
SECRET = "planted-s3cret-1"
NAMES = ["add_note", "count_by_field", "get_ticket", "search_tickets"]


@contextmanager
def beside(context: Any) -> Iterator[Any]:
    """Keep an asynchronous context open on the loop of another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="module")
def tickets() -> Iterator[str]:
    """The demo's tool server, which knows Jane's token alone."""
    with beside(serving(make_app(tokens={SECRET: "jane"}, notes=Notes(path=None)))) as url:
        yield url


def page(instance: ServerInstance, action: str = "change") -> str:
    return f"/admin/integrations/serverinstance/{instance.pk}/{action}/"


def connected(url: str, value: str = SECRET, **fields: Any) -> ServerInstance:
    """Connect the server to a project where Jane has a credential."""
    made: ServerInstance = ServerInstanceFactory(
        server__url=url, server__auth_kind="bearer", auth_level="user", **fields
    )
    jane = EndUserFactory(project=made.project, email="jane@example.com")
    store_credential(instance=made, end_user=jane, value=value)
    return made


def test_a_connection_is_tested_and_nothing_kept(tickets: str) -> None:
    instance = connected(tickets, server__name="tickets")
    browser = staff("project admin")

    assert 'value="jane@example.com"' in text_of(browser.get(page(instance, "test")))
    assert not AuditEntry.objects.exists()
    answer = browser.post(page(instance, "test"), {"email": "Jane@example.com"}, follow=True)

    assert "and has 4 tools." in text_of(answer)
    instance.refresh_from_db()
    assert (instance.tools, instance.tools_listed_at) == ([], None)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.project_id) == ("test", instance.project_id)
    assert entry.details == {"tools": 4, "user": "jane@example.com"}


def test_refreshed_tools_are_kept_and_later_runs_ask_anew(tickets: str) -> None:
    instance = connected(tickets)
    navigator = NavigatorFactory(project=instance.project)
    jane = instance.project.end_users.get()
    before = accesses_for(project=instance.project, navigator=navigator, end_user=jane)[0]
    browser = staff("project admin")

    answer = browser.post(page(instance, "refresh"), {"email": "jane@example.com"}, follow=True)

    assert "has 4 tools: 4 new, 0 gone." in text_of(answer)
    assert "<code>search_tickets</code>" in text_of(answer)
    assert SECRET not in text_of(answer)
    instance.refresh_from_db()
    assert [each["name"] for each in instance.tools] == NAMES
    after = accesses_for(project=instance.project, navigator=navigator, end_user=jane)[0]
    assert after.catalogue_key != before.catalogue_key


def test_what_stands_in_the_way_is_said_in_a_safe_sentence(tickets: str) -> None:
    browser = staff("project admin")
    refused = connected(tickets, value="another-s3cret")
    inside = connected("http://169.254.169.254/mcp")
    away = connected("http://127.0.0.1:9/mcp")
    EndUserFactory(project=refused.project, email="ben@example.com")

    for instance, email, sentence in (
        (refused, "jane@example.com", "it did not accept the credential."),
        (refused, "ben@example.com", "ben@example.com must connect"),
        (refused, "eve@example.com", "The project has no such user."),
        (refused, "no address", "This is not an e-mail address."),
        (inside, "jane@example.com", "its address is not one that may be connected to."),
        (away, "jane@example.com", "cannot be used: its address is not one"),
    ):
        for action in ("test", "refresh"):
            answer = browser.post(page(instance, action), {"email": email}, follow=True)
            assert answer.status_code == 200
            assert sentence in text_of(answer)
            assert "s3cret" not in text_of(answer)
    assert not ServerInstance.objects.exclude(tools_listed_at=None).exists()
    assert AuditEntry.objects.count() == 8
    assert not AuditEntry.objects.exclude(details__has_key="problem").exists()


def test_a_server_that_stalls_or_breaks_costs_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    browser = staff("project admin")

    async def stall(_: Seen, __: Any) -> None:
        await asyncio.sleep(60)

    for handler, seconds, sentence in (
        (stall, 0.5, "it did not answer in time."),
        (status(500), 30, "it failed with a server error."),
        (status(200, b"<html>"), 30, "its answer did not follow the protocol."),
    ):
        monkeypatch.setattr(tool_discovery, "SECONDS", seconds)
        server = RawServer()
        server.methods["tools/list"] = handler
        with beside(server.running()):
            instance = ServerInstanceFactory(server__url=server.url)
            answer = browser.post(page(instance, "test"), follow=True)
        assert sentence in text_of(answer)


def test_a_paused_server_or_instance_shows_no_tools_until_it_is_resumed() -> None:
    instance = ServerInstanceFactory()
    navigator = NavigatorFactory(project=instance.project)
    jane = EndUserFactory(project=instance.project)
    browser = staff("project admin")

    def reached() -> int:
        return len(accesses_for(project=instance.project, navigator=navigator, end_user=jane))

    for at in (
        f"/admin/integrations/serverinstance/{instance.pk}/",
        f"/admin/integrations/server/{instance.server.pk}/",
    ):
        browser.get(f"{at}pause/")
        assert reached() == 1
        assert browser.post(f"{at}pause/", {"reason": "It misbehaves."}).status_code == 302
        assert reached() == 0
        assert "It misbehaves." in text_of(browser.get(f"{at}change/"))
        browser.post(f"{at}pause/")
        browser.post(f"{at}resume/")
        assert reached() == 1
    assert list(AuditEntry.objects.order_by("pk").values_list("action", flat=True)) == [
        *("pause", "resume", "pause", "resume"),
    ]


def test_who_may_not_or_sees_another_project_does_nothing(tickets: str) -> None:
    instance = connected(tickets)
    viewer = staff("support viewer")
    ours = staff("project admin", instance.project)
    User.objects.filter(username="project admin").update(username="one")
    other = staff("project admin", ProjectFactory())
    server = f"/admin/integrations/server/{instance.server.pk}/pause/"

    for action in ("test", "refresh", "pause"):
        assert viewer.post(page(instance, action)).status_code == 403
        assert other.post(page(instance, action), {"email": "x"}).status_code == 404
    assert ours.post(server).status_code == 403  # it is for all projects of the tenant
    client = Browser(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    assert client.post(page(instance, "pause")).status_code == 403
    instance.refresh_from_db()
    assert not instance.paused
    assert not instance.server.paused
    assert not AuditEntry.objects.exists()
