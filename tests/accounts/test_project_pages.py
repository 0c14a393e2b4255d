"""Projects and tenants in the admin: their limits, and pausing them."""

from __future__ import annotations

from typing import Any

import pytest

from caylex_project.accounts.models import AuditEntry, Project, Tenant
from tests.accounts.test_admin import Browser, browser, text_of  # noqa: F401
from tests.accounts.test_staff_scope import limited_to
from tests.skills.test_skill_pages import staff
from tests.support.factories import ProjectFactory

pytestmark = pytest.mark.django_db


def page(row: Any, view: str = "change") -> str:
    return f"/admin/accounts/{row._meta.model_name}/{row.pk}/{view}/"


def test_limits_are_set_and_taken_away_and_the_trail_says_what_they_were() -> None:
    project: Any = ProjectFactory(limits={"max_steps": 5})
    admin = staff("project admin")
    assert 'name="max_steps" value="5"' in text_of(admin.get(page(project, "limits")))

    answer = admin.post(
        page(project, "limits"),
        {"max_concurrent_tasks": "20", "max_cost_usd": "0.5", "reason": "They asked."},
    )

    after = {"max_concurrent_tasks": 20, "max_cost_usd": 0.5}
    assert answer.status_code == 302
    assert Project.objects.get().limits == after
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.reason) == ("limits", "They asked.")
    assert entry.details == {"before": {"max_steps": 5}, "after": after}
    assert entry.project_id == project.pk


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_steps", "0"),
        ("max_steps", "1.5"),
        ("max_steps", "x"),
        ("max_steps", "9" * 400),
        ("max_cost_usd", "nan"),
        ("max_cost_usd", "-1"),
        ("timeout_seconds", "1e400"),
    ],
)
def test_a_limit_that_is_none_is_refused(name: str, value: str) -> None:
    project: Any = ProjectFactory()

    answer = staff("project admin").post(page(project, "limits"), {name: value})

    assert answer.status_code == 200
    assert "errorlist" in text_of(answer)
    assert Project.objects.get().limits == {}
    assert not AuditEntry.objects.exists()


def test_a_project_and_a_tenant_are_paused_with_a_reason_and_resumed(
    browser: Browser,  # noqa: F811
) -> None:
    project: Any = ProjectFactory()

    for row in (project, project.tenant):
        browser.get(page(row, "pause"))
        row.refresh_from_db()
        assert not row.paused
        browser.post(page(row, "pause"), {"reason": "Too much."})
        row.refresh_from_db()
        assert row.paused
        assert "Too much." in text_of(browser.get(page(row)))
        browser.post(page(row, "resume"))
        row.refresh_from_db()
        assert not row.paused
    browser.post(page(project.tenant, "limits"), {"max_pending": "7", "max_steps": "3"})
    assert Tenant.objects.get().limits == {"max_pending": 7}


def test_who_may_not_or_is_limited_changes_no_more_than_his_own() -> None:
    project: Any = ProjectFactory()
    other: Any = ProjectFactory(tenant=project.tenant)
    viewer, limited = staff("support viewer"), limited_to(other)

    for action in ("limits", "pause"):
        assert viewer.post(page(project, action), {"max_steps": "1"}).status_code == 403
        assert limited.post(page(project, action), {"max_steps": "1"}).status_code == 404
        assert limited.post(page(project.tenant, action), {"max_pending": "1"}).status_code == 403
    assert limited.post(page(other, "pause")).status_code == 302
    assert list(Project.objects.filter(paused=True)) == [other]
    assert Tenant.objects.get().limits == {}
    assert not Tenant.objects.get().paused
