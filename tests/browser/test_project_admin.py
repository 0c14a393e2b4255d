"""The stories of a project admin, in a browser, against the web process."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, Literal

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from caylex_project.accounts.models import AuditEntry
from caylex_project.integrations.credentials import store_credential, value_of
from caylex_project.integrations.models import Credential
from skills_app.operations import skill_body, store_skill
from skills_app.parsing.skill_md import parse_skill
from tasks_app.worker.claiming.claim import claim_due
from tasks_app.worker.execution.rebuild import load_task, pinned_system_prompt, revision_of
from tests.browser.support_day import Scene
from tests.browser.test_stories import address, sign_in, violations  # noqa: F401
from tests.skills.test_skill_md import skill
from tests.support.engine_rows import a_worker
from tests.support.factories import ServerInstanceFactory, ToolPermissionFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
SCHEMES: tuple[Literal["dark", "light"], ...] = ("dark", "light")
OLD, NEW = "planted-s3cret-1", "planted-s3cret-2"


@pytest.fixture
def scene() -> Scene:
    """A project with people, without a task."""
    return Scene(timezone.now())


def test_a_new_credential_is_pasted_and_seen_by_nobody(
    address: str,  # noqa: F811
    page: Page,
    scene: Scene,
) -> None:
    crm = ServerInstanceFactory(
        project=scene.project, server__name="crm", server__auth_kind="bearer", auth_level="user"
    )
    row = store_credential(instance=crm, end_user=scene.people[0], value=OLD)
    sign_in(page, address, "view_agenttask", "view_credential", "change_credential")

    page.goto(f"{address}/admin/integrations/credential/")
    page.click("text=crm for jane@example.com")
    assert OLD not in page.content()
    page.fill("#id_value", "short")
    page.click("[type=submit][name=_save]")
    expect(page.locator(".errorlist")).to_contain_text("The value is too short")
    assert page.input_value("#id_value") == ""
    page.fill("#id_value", NEW)
    page.click("[type=submit][name=_save]")
    expect(page.locator(".messagelist .success")).to_be_visible()

    assert value_of(Credential.objects.get()) == NEW
    page.goto(f"{address}/admin/integrations/credential/{row.pk}/change/")
    assert NEW not in page.content()
    assert page.locator(".field-set_by .readonly").inner_text() == "ada"
    assert violations(page) == []
    assert "s3cret" not in str(AuditEntry.objects.values())


def test_an_uploaded_skill_is_looked_at_stored_and_used_by_the_next_task(
    address: str,  # noqa: F811
    page: Page,
    scene: Scene,
    tmp_path: Path,
) -> None:
    store_skill(project=scene.project, parsed=parse_skill(skill()))
    file = tmp_path / "SKILL.md"
    file.write_text(skill(description="Counts by product.").replace("Do it.", "Count them twice."))
    sign_in(page, address, "view_agenttask", "view_skill", "add_skill")

    page.goto(f"{address}/admin/skills_app/skill/")
    page.click("text=report")
    page.click("text=Upload a revision")
    page.set_input_files("#id_file", file)
    page.click("[type=submit][value=Preview]")
    expect(page.locator(".standing")).to_contain_text("Nothing is stored yet.")
    expect(page.locator(".diff .added").last).to_have_text("+Count them twice.\n")
    found = violations(page)
    assert scene.project.skills.get().revisions.count() == 1
    page.click("[type=submit][value=Store]")
    expect(page.locator(".messagelist .success")).to_contain_text("the next task uses it")
    found += violations(page)
    page.set_viewport_size({"width": 320, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert found == []

    scene.task(0, ago=1)
    worker: Any = a_worker()
    [claim], _ = claim_due(worker_id=worker.pk, limit=1, after_tenant=uuid.UUID(int=0))
    record = load_task(claim)
    revision = revision_of(record.revisions, str(scene.project.skills.get().pk))
    assert revision is not None
    assert "Counts by product." in pinned_system_prompt(record, ())
    assert skill_body(revision) == "Count them twice."


def test_nothing_stands_in_anybody_s_way(
    address: str,  # noqa: F811
    page: Page,
    scene: Scene,
) -> None:
    tools = [{"name": "wipe", "description": "Deletes a customer.", "repeatable": False}]
    crm = ServerInstanceFactory(
        project=scene.project, server__name="crm", tools=tools, tools_listed_at=timezone.now()
    )
    ToolPermissionFactory(instance=crm, navigator=scene.navigator)
    views = ("serverinstance", "navigator", "project", "worker", "platformtoken")
    sign_in(
        *(page, address, "view_agenttask"),
        *(f"{verb}_{name}" for name in views for verb in ("view", "change", "add")),
    )
    found = []

    for path in (
        f"integrations/serverinstance/{crm.pk}/change/",
        f"integrations/serverinstance/{crm.pk}/pause/",
        f"accounts/navigator/{scene.navigator.pk}/permissions/",
        f"accounts/project/{scene.project.pk}/limits/",
        f"tasks_app/worker/{scene.worker.pk}/change/",
        "accounts/platformtoken/add/",
    ):
        page.goto(f"{address}/admin/{path}")
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            found += violations(page)
        page.set_viewport_size({"width": 320, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, path
        page.set_viewport_size({"width": 1440, "height": 1000})
    assert found == []
