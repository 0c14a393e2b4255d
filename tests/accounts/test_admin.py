"""The admin: everything can be looked at, secrets are made and never shown twice."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from caylex_project.accounts.keys import (
    find_navigator_key,
    find_platform_token,
    issue_platform_token,
)
from caylex_project.accounts.models import AuditEntry, NavigatorKey, PlatformToken
from caylex_project.integrations.credentials import store_credential, value_of
from caylex_project.integrations.models import Credential, ToolPermission
from skills_app.operations import store_skill
from skills_app.parsing.skill_md import parse_skill
from tests.provisioning.test_provision import dump
from tests.skills.test_skill_md import skill
from tests.support.factories import (
    EndUserFactory,
    NavigatorFactory,
    ServerInstanceFactory,
    TenantFactory,
)

pytestmark = pytest.mark.django_db
SECRET = "planted-s3cret-1"
MODELS = [
    *["accounts/tenant", "accounts/platformtoken", "accounts/project", "accounts/navigator"],
    *["accounts/navigatorkey", "accounts/enduser", "integrations/server"],
    *["integrations/serverinstance", "integrations/toolpermission", "integrations/credential"],
    *["skills_app/skill", "skills_app/skillrevision", "skills_app/skillfile"],
]
MAKES = [
    *["accounts/platformtoken", "accounts/navigatorkey", "integrations/credential"],
    "skills_app/skill",
]


class Browser(Client):
    """A client over HTTPS, as production wants it."""

    def request(self, **request: Any) -> Any:
        """Ask over HTTPS."""
        return super().request(**{**request, "wsgi.url_scheme": "https"})


@pytest.fixture
def browser() -> Browser:
    """Signed in as a superuser, every protection against forged requests on."""
    made = Browser()
    made.force_login(User.objects.create_superuser("root"))
    return made


def staff(*permissions: str) -> Browser:
    """Signed in as a member of staff with these permissions."""
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    made = Browser()
    made.force_login(user)
    return made


def text_of(response: Any) -> str:
    """The page as text."""
    return str(response.content.decode())


@pytest.fixture
def rows() -> dict[str, Any]:
    """One row of every model."""
    navigator = NavigatorFactory()
    project = navigator.project
    instance = ServerInstanceFactory(project=project, server__auth_kind="bearer", auth_level="user")
    jane = EndUserFactory(project=project, email="jane@example.com")
    token, _ = issue_platform_token(tenant=project.tenant, name="backend")
    key = NavigatorKey.objects.create(navigator=navigator, digest="d" * 64)
    revision = store_skill(project=project, parsed=parse_skill(skill(), files={"a.md": "text"}))
    return {
        "accounts/tenant": project.tenant,
        "accounts/platformtoken": token,
        "accounts/project": project,
        "accounts/navigator": navigator,
        "accounts/navigatorkey": key,
        "accounts/enduser": jane,
        "integrations/server": instance.server,
        "integrations/serverinstance": instance,
        "integrations/toolpermission": ToolPermission.objects.create(
            navigator=navigator, instance=instance, tool="wipe", permission="disabled"
        ),
        "integrations/credential": store_credential(instance=instance, end_user=jane, value=SECRET),
        "skills_app/skill": revision.skill,
        "skills_app/skillrevision": revision,
        "skills_app/skillfile": revision.files.get(),
    }


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_list_and_a_page_without_any_secret(
    browser: Browser, rows: dict[str, Any], model: str
) -> None:
    row = rows[model]
    pages = [
        browser.get(f"/admin/{model}/"),
        browser.get(f"/admin/{model}/?q=a"),
        browser.get(f"/admin/{model}/{row.pk}/change/"),
    ]
    credential = rows["integrations/credential"]
    for page in pages:
        assert page.status_code == 200
        for hidden in (
            SECRET,
            rows["accounts/platformtoken"].digest,
            "d" * 64,
            bytes(credential.sealed).hex(),
            repr(bytes(credential.sealed)),
        ):
            assert hidden not in text_of(page)


@pytest.mark.parametrize("model", [each for each in MODELS if each not in MAKES])
def test_what_makes_no_secret_is_read_only(
    browser: Browser, rows: dict[str, Any], model: str
) -> None:
    row = rows[model]
    before = type(row)._default_manager.filter(pk=row.pk).values().get()

    assert browser.get(f"/admin/{model}/add/").status_code == 403
    assert browser.post(f"/admin/{model}/add/", {"name": "x"}).status_code == 403
    assert browser.post(f"/admin/{model}/{row.pk}/change/", {"name": "x"}).status_code == 403
    assert browser.post(f"/admin/{model}/{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert type(row)._default_manager.filter(pk=row.pk).values().get() == before
    assert type(row)._default_manager.count() == 1


def test_a_token_is_shown_once_in_the_answer_itself(browser: Browser) -> None:
    tenant = TenantFactory()

    answer = browser.post(
        "/admin/accounts/platformtoken/add/",
        {"tenant": str(tenant.pk), "name": "backend", "expires_at_0": "", "expires_at_1": ""},
    )

    found = re.search(r"cpt_[0-9a-f]{32}\.[\w-]{43}", text_of(answer))
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    assert found is not None
    row = PlatformToken.objects.get()
    assert find_platform_token(found[0], now=timezone.now()) == row
    secret = found[0].split(".")[1]
    assert secret not in str(browser.cookies)
    for page in ("", f"{row.pk}/change/"):
        assert secret not in text_of(browser.get(f"/admin/accounts/platformtoken/{page}"))
    assert secret not in text_of(browser.get("/admin/"))
    assert secret not in "".join(str(each.get_decoded()) for each in Session.objects.all())
    assert secret not in dump()


def test_a_key_is_shown_once_and_works(browser: Browser) -> None:
    navigator = NavigatorFactory()

    answer = browser.post(
        "/admin/accounts/navigatorkey/add/",
        {"navigator": str(navigator.pk), "expires_at_0": "2999-01-01", "expires_at_1": "00:00"},
    )

    found = re.search(r"ck_[0-9a-f]{32}\.[\w-]{43}", text_of(answer))
    assert found is not None
    key = find_navigator_key(found[0], tenant=navigator.project.tenant, now=timezone.now())
    assert key is not None
    assert key.expires_at == datetime.datetime(2999, 1, 1, tzinfo=datetime.UTC)


def test_a_token_that_would_never_work_is_not_made(browser: Browser) -> None:
    answer = browser.post(
        "/admin/accounts/platformtoken/add/",
        {
            "tenant": str(TenantFactory().pk),
            "name": "backend",
            "expires_at_0": "2020-01-01",
            "expires_at_1": "00:00",
        },
    )

    assert "This moment has passed." in text_of(answer)
    assert not PlatformToken.objects.exists()


def test_a_digest_or_a_revocation_cannot_be_set(browser: Browser) -> None:
    browser.post(
        "/admin/accounts/platformtoken/add/",
        {
            "tenant": str(TenantFactory().pk),
            "name": "backend",
            "expires_at_0": "",
            "expires_at_1": "",
            "digest": "0" * 64,
            "id": "00000000-0000-0000-0000-000000000001",
        },
    )

    row = PlatformToken.objects.get()
    assert row.digest != "0" * 64
    assert str(row.pk) != "00000000-0000-0000-0000-000000000001"


def revoke(client: Client, row: PlatformToken) -> Any:
    """Choose the token in the list and ask for the action."""
    return client.post(
        "/admin/accounts/platformtoken/", {"action": "revoke", "_selected_action": str(row.pk)}
    )


def test_a_token_is_revoked_by_post_alone(browser: Browser) -> None:
    row, text = issue_platform_token(tenant=TenantFactory(), name="backend")
    other, _ = issue_platform_token(tenant=TenantFactory(), name="other")

    browser.get(
        "/admin/accounts/platformtoken/", {"action": "revoke", "_selected_action": str(row.pk)}
    )
    assert find_platform_token(text, now=timezone.now()) == row

    assert revoke(browser, row).status_code == 302
    assert find_platform_token(text, now=timezone.now()) is None
    other.refresh_from_db()
    assert other.revoked_at is None


def test_without_the_permission_nothing_is_made_revoked_or_stored(rows: dict[str, Any]) -> None:
    viewer = staff("view_platformtoken", "view_navigatorkey", "view_credential")
    row = rows["accounts/platformtoken"]
    sealed = rows["integrations/credential"]

    revoke(viewer, row)
    for model in MAKES:
        assert viewer.get(f"/admin/{model}/add/").status_code == 403
        assert viewer.post(f"/admin/{model}/add/", {}).status_code == 403
    page = viewer.get(f"/admin/integrations/credential/{sealed.pk}/change/")
    answer = viewer.post(
        f"/admin/integrations/credential/{sealed.pk}/change/", {"value": "another-s3cret"}
    )

    assert page.status_code == 200
    assert 'name="value"' not in text_of(page)
    assert answer.status_code == 403
    row.refresh_from_db()
    assert row.revoked_at is None
    assert value_of(Credential.objects.get()) == SECRET


def test_a_post_without_its_csrf_token_changes_nothing(rows: dict[str, Any]) -> None:
    client = Browser(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))

    assert revoke(client, rows["accounts/platformtoken"]).status_code == 403
    assert PlatformToken.objects.get().revoked_at is None


def test_a_credential_is_sealed_and_never_shown(browser: Browser) -> None:
    instance = ServerInstanceFactory(server__auth_kind="bearer", auth_level="user")
    jane = EndUserFactory(project=instance.project)
    url = "/admin/integrations/credential/"
    said = {"instance": str(instance.pk), "end_user": str(jane.pk), "value": SECRET}

    form = text_of(browser.get(f"{url}add/"))
    answer = browser.post(f"{url}add/", said, follow=True)

    assert re.search(r'<input type="password" name="value"', form)
    row = Credential.objects.get()
    assert (row.instance, row.end_user, value_of(row)) == (instance, jane, SECRET)
    assert SECRET not in text_of(answer)
    assert SECRET not in text_of(browser.get(f"{url}{row.pk}/history/"))
    assert SECRET not in dump()


def test_a_new_value_takes_the_place_of_the_old_one_for_the_same_owner(
    browser: Browser, rows: dict[str, Any]
) -> None:
    row = rows["integrations/credential"]
    other = EndUserFactory(project=row.instance.project)

    answer = browser.post(
        f"/admin/integrations/credential/{row.pk}/change/",
        {"value": "another-s3cret", "end_user": str(other.pk)},
    )

    assert answer.status_code == 302
    kept = Credential.objects.get()
    assert (kept.pk, kept.end_user_id) == (row.pk, row.end_user_id)
    assert value_of(kept) == "another-s3cret"
    page = text_of(browser.get(f"/admin/integrations/credential/{row.pk}/change/"))
    assert '<div class="readonly">root</div>' in page
    assert "another-s3cret" not in page
    assert "s3cret" not in str(AuditEntry.objects.values())


@pytest.mark.parametrize("value", ["short", "planted-ü-s3cret", "x" * 5000])
def test_a_refused_value_is_not_kept_and_not_repeated(browser: Browser, value: str) -> None:
    instance = ServerInstanceFactory(server__auth_kind="bearer")

    answer = browser.post(
        "/admin/integrations/credential/add/", {"instance": str(instance.pk), "value": value}
    )

    assert answer.status_code == 200
    assert "The value " in text_of(answer)
    assert f'value="{value}"' not in text_of(answer)
    assert not Credential.objects.exists()


def test_a_sealed_value_that_does_not_open_is_marked(
    browser: Browser, rows: dict[str, Any]
) -> None:
    Credential.objects.update(sealed=b"nonsense")

    page = text_of(browser.get("/admin/integrations/credential/"))

    assert 'alt="False"' in page
