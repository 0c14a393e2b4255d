"""A navigator's permissions in the admin: one choice for each tool that its servers list."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User

from caylex_project.accounts.models import AuditEntry, Navigator
from caylex_project.integrations.access import accesses_for
from caylex_project.integrations.models import ToolPermission
from tests.accounts.test_admin import Browser, text_of
from tests.skills.test_skill_pages import hidden, staff
from tests.support.factories import (
    EndUserFactory,
    NavigatorFactory,
    ProjectFactory,
    ServerInstanceFactory,
    ToolPermissionFactory,
)

pytestmark = pytest.mark.django_db


def listed(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "description": f"Can {name}.", "repeatable": False} for name in names]


@pytest.fixture
def navigator() -> Navigator:
    """A navigator with two servers, one of which lists tools; it holds back a tool that is gone."""
    made: Navigator = NavigatorFactory()
    crm = ServerInstanceFactory(
        project=made.project, server__name="crm", tools=listed("find", "wipe", "<b>odd</b>")
    )
    ServerInstanceFactory(project=made.project, server__name="drive")
    ToolPermissionFactory(instance=crm, navigator=made, tool="gone", permission="disabled")
    return made


def page(navigator: Navigator, view: str = "permissions") -> str:
    return f"/admin/accounts/navigator/{navigator.pk}/{view}/"


def fields(browser: Browser, navigator: Navigator) -> dict[str, str]:
    """Return the name of each tool's field, by the tool."""
    text = text_of(browser.get(page(navigator)))
    return {tool: name for name, tool in re.findall(r'<label for="id_([0-9a-f-]+)">([^<]+)<', text)}


def permissions(navigator: Navigator) -> dict[str, str]:
    jane = EndUserFactory(project=navigator.project)
    found = accesses_for(project=navigator.project, navigator=navigator, end_user=jane)
    return {tool: value.value for each in found for tool, value in each.permissions.items()}


def test_every_listed_tool_has_a_choice_and_what_is_not_chosen_stays(navigator: Navigator) -> None:
    browser = staff("project admin")
    shown = browser.get(page(navigator))
    by_tool = fields(browser, navigator)
    assert list(by_tool) == ["&lt;b&gt;odd&lt;/b&gt;", "find", "gone", "wipe"]
    assert "The server does not list it." in text_of(shown)
    assert not AuditEntry.objects.exists()

    answer = browser.post(
        page(navigator),
        {
            **hidden(shown),
            by_tool["wipe"]: "disabled",
            by_tool["find"]: "require_approval",
            by_tool["gone"]: "always_execute",
            "unknown-field": "disabled",
        },
        follow=True,
    )

    assert "Changed: 3." in text_of(answer)
    assert permissions(navigator) == {"wipe": "disabled", "find": "require_approval"}
    assert ToolPermission.objects.count() == 2
    entry = AuditEntry.objects.get()
    assert entry.details == {
        "count": 3,
        "tools": {
            "crm: find": ["always_execute", "require_approval"],
            "crm: gone": ["disabled", "always_execute"],
            "crm: wipe": ["always_execute", "disabled"],
        },
    }


def test_a_page_that_is_out_of_date_changes_nothing(navigator: Navigator) -> None:
    browser = staff("project admin")
    shown = hidden(browser.get(page(navigator)))
    by_tool = fields(browser, navigator)
    browser.post(page(navigator), {**shown, by_tool["wipe"]: "disabled"})

    for answers in ({**shown, by_tool["wipe"]: "always_execute"}, {}, {"seen": "x"}):
        assert browser.post(page(navigator), answers).status_code == 200
    fresh = hidden(browser.get(page(navigator)))
    assert browser.post(page(navigator), {**fresh, by_tool["wipe"]: "root"}).status_code == 200

    assert permissions(navigator) == {"wipe": "disabled", "gone": "disabled"}
    assert AuditEntry.objects.count() == 1


def test_who_may_not_or_sees_another_project_changes_nothing(navigator: Navigator) -> None:
    viewer = staff("support viewer")
    other = staff("project admin", ProjectFactory())
    User.objects.filter(username="project admin").update(username="other")
    ours = staff("project admin", navigator.project)

    assert viewer.post(page(navigator)).status_code == 403
    assert other.get(page(navigator)).status_code == 404
    assert other.post(page(navigator)).status_code == 404
    assert "permissions/" not in text_of(viewer.get(page(navigator, "change")))
    assert "<code>gone</code>" in text_of(ours.get(page(navigator, "change")))
    assert permissions(navigator) == {"gone": "disabled"}
