"""Limits of staff in the admin, and revoking from a secret's own page."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from caylex_project.accounts.keys import (
    find_navigator_key,
    find_platform_token,
    issue_navigator_key,
    issue_platform_token,
)
from caylex_project.accounts.models import AuditEntry, StaffScope
from caylex_project.accounts.staff_scope import visible_projects
from tests.accounts.test_admin import Browser, browser, text_of  # noqa: F401
from tests.accounts.test_staff_scope import limited_to
from tests.skills.test_skill_pages import staff
from tests.support.factories import NavigatorFactory, ProjectFactory

pytestmark = pytest.mark.django_db
SCOPES = "/admin/accounts/staffscope/"


def trail() -> list[tuple[Any, ...]]:
    return list(AuditEntry.objects.order_by("pk").values_list("action", "object_name", "details"))


def test_a_user_is_limited_to_projects_and_the_limit_is_lifted(
    browser: Browser,  # noqa: F811
) -> None:
    project: Any = ProjectFactory(name="support", tenant__name="acme")
    sue = User.objects.create_user("sue", is_staff=True)
    other = User.objects.create_user("tom", is_staff=True)

    answer = browser.post(f"{SCOPES}add/", {"user": sue.pk, "projects": [project.pk]})

    assert answer.status_code == 302
    assert visible_projects(sue) == frozenset({project.pk})
    scope = StaffScope.objects.get()
    browser.post(f"{SCOPES}{scope.pk}/change/", {"user": other.pk, "projects": [project.pk]})
    assert visible_projects(other) is None
    browser.post(f"{SCOPES}{scope.pk}/delete/", {"post": "yes"})
    assert visible_projects(User.objects.get(pk=sue.pk)) is None
    assert trail() == [
        ("limit", "sue", {"projects": ["acme/support"]}),
        ("limit", "sue", {"projects": ["acme/support"]}),
        ("lift limit", "sue", {}),
    ]


def test_limited_staff_touch_neither_limits_nor_users_whatever_they_may_do() -> None:
    limited = limited_to(ProjectFactory())
    me = User.objects.get(username="lim")
    scope = StaffScope.objects.get()

    for path, row in (("accounts/staffscope", scope), ("auth/user", me)):
        assert limited.get(f"/admin/{path}/add/").status_code == 403
        assert limited.post(f"/admin/{path}/{row.pk}/delete/", {"post": "yes"}).status_code == 404
        assert limited.post(f"/admin/{path}/{row.pk}/change/", {}).status_code == 404
        assert f"/{row.pk}/change/" not in text_of(limited.get(f"/admin/{path}/"))
    limited.post(SCOPES, {"action": "delete_selected", "_selected_action": scope.pk, "post": "yes"})
    assert visible_projects(me) is not None
    assert not AuditEntry.objects.exists()


def test_a_token_and_a_key_are_revoked_from_their_page_with_a_reason() -> None:
    navigator = NavigatorFactory()
    token, token_text = issue_platform_token(tenant=navigator.project.tenant, name="backend")
    key, key_text = issue_navigator_key(navigator=navigator)
    admin, viewer = staff("project admin"), staff("support viewer")

    for model, row in (("platformtoken", token), ("navigatorkey", key)):
        page = f"/admin/accounts/{model}/{row.pk}/"
        assert viewer.post(f"{page}revoke/").status_code == 403
        assert f"{page}revoke/" in text_of(admin.get(f"{page}change/"))
        admin.get(f"{page}revoke/")
        assert find_platform_token(token_text, now=timezone.now()) is not None or row is key
        assert admin.post(f"{page}revoke/", {"reason": "It leaked."}).status_code == 302
        assert f"{page}revoke/" not in text_of(admin.get(f"{page}change/"))

    now, tenant = timezone.now(), navigator.project.tenant
    assert find_platform_token(token_text, now=now) is None
    assert find_navigator_key(key_text, tenant=tenant, now=now) is None
    assert set(AuditEntry.objects.values_list("action", "reason", "project_id")) == {
        ("revoke", "It leaked.", None),
        ("revoke", "It leaked.", navigator.project_id),
    }
