"""Staff limited to projects see these alone, wherever they look."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from caylex_project.accounts.models import AuditEntry, StaffScope
from caylex_project.accounts.staff_scope import visible_projects
from tests.accounts.test_admin import MODELS, Browser, rows, text_of  # noqa: F401
from tests.support.factories import NavigatorFactory, ProjectFactory

pytestmark = pytest.mark.django_db


def limited_to(*projects: Any) -> Browser:
    """A superuser's browser, limited to projects."""
    user = User.objects.create_superuser("lim")
    StaffScope.objects.create(user=user).projects.set(projects)
    made = Browser()
    made.force_login(user)
    return made


def test_without_a_row_staff_see_all_projects() -> None:
    user = User.objects.create_user("sue")

    assert visible_projects(user) is None


def test_with_a_row_staff_see_the_projects_in_it() -> None:
    project: Any = ProjectFactory()
    user = User.objects.create_user("sue")
    scope = StaffScope.objects.create(user=user)
    assert visible_projects(user) == frozenset()

    scope.projects.add(project)

    assert visible_projects(user) == frozenset()  # for as long as a request has the user
    assert visible_projects(User.objects.get(pk=user.pk)) == frozenset({project.pk})


@pytest.mark.parametrize("model", MODELS)
def test_rows_of_other_projects_are_neither_listed_nor_found(
    rows: dict[str, Any],  # noqa: F811
    model: str,
) -> None:
    browser = limited_to(ProjectFactory())
    row = rows[model]

    assert f"/{row.pk}/change/" not in text_of(browser.get(f"/admin/{model}/"))
    for view in ("change", "history", "delete"):
        assert browser.get(f"/admin/{model}/{row.pk}/{view}/").status_code in (403, 404), view
    assert browser.get(f"/admin/{model}/{row.pk}/change/").status_code == 404


@pytest.mark.parametrize("model", [each for each in MODELS if each != "accounts/platformtoken"])
def test_rows_of_their_own_project_are_found_once(
    rows: dict[str, Any],  # noqa: F811
    model: str,
) -> None:
    navigator = rows["accounts/navigator"]
    ProjectFactory(tenant=navigator.project.tenant)
    browser = limited_to(navigator.project)

    assert browser.get(f"/admin/{model}/{rows[model].pk}/change/").status_code == 200
    assert text_of(browser.get(f"/admin/{model}/")).count(f"/{rows[model].pk}/change/") == 1


def test_a_tenant_s_tokens_are_not_for_staff_of_one_project(
    rows: dict[str, Any],  # noqa: F811
) -> None:
    browser = limited_to(rows["accounts/project"])

    answer = browser.post(
        "/admin/accounts/platformtoken/add/",
        {"tenant": str(rows["accounts/tenant"].pk), "name": "mine"},
    )

    token = rows["accounts/platformtoken"]
    assert answer.status_code == 403
    assert browser.get(f"/admin/accounts/platformtoken/{token.pk}/change/").status_code == 404


def test_a_form_takes_no_row_of_another_project(rows: dict[str, Any]) -> None:  # noqa: F811
    other = NavigatorFactory()
    browser = limited_to(rows["accounts/project"])

    form = text_of(browser.get("/admin/accounts/navigatorkey/add/"))
    answer = browser.post("/admin/accounts/navigatorkey/add/", {"navigator": str(other.pk)})

    assert str(other.pk) not in form
    assert "Select a valid choice" in text_of(answer)
    assert not other.keys.exists()


def test_audit_entries_of_other_projects_are_hidden() -> None:
    project: Any = ProjectFactory()
    said = {"actor": "a", "action": "pause", "object_type": "x", "object_id": "1"}
    for name, project_id in (("ours", project.pk), ("another's", ProjectFactory().pk)):
        AuditEntry.objects.create(
            **said, object_name=name, project_id=project_id, at=project.created_at
        )

    page = text_of(limited_to(project).get("/admin/accounts/auditentry/"))

    assert "ours" in page
    assert "another&#x27;s" not in page
