"""The page of an auth link: opened once, proven where needed, and what it connects."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone

from caylex_project.accounts.models import EndUser
from caylex_project.integrations.credentials import store_credential, value_of
from caylex_project.integrations.links import (
    LinkRefused,
    LinkRequest,
    link_of_task,
    make_link,
    prune_links,
)
from caylex_project.integrations.models import (
    AuthLink,
    Credential,
    EmailCode,
    LinkKind,
    LinkVisit,
    OAuthClient,
    ServerInstance,
)
from caylex_project.integrations.oauth_tokens import enter_client, tokens_of
from caylex_project.logs import loggable_path
from tests.accounts.test_admin import Browser, text_of
from tests.integrations.test_server_pages import beside
from tests.support.factories import ServerInstanceFactory
from tests.unit.oauth.authority import Authority, an_authority

pytestmark = pytest.mark.django_db
JANE = "jane@example.com"
PUBLIC = "http://testserver"


@pytest.fixture
def authority() -> Iterator[Authority]:
    with beside(an_authority()) as served:
        yield served


@pytest.fixture(autouse=True)
def _public_address(settings: Any) -> None:
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"caylex_public_url": PUBLIC})
    settings.SENDS_MAIL = True


def connected_server(**fields: Any) -> ServerInstance:
    made: ServerInstance = ServerInstanceFactory(
        **{"server__auth_kind": "bearer", "auth_level": "user", **fields}
    )
    return made


def link_for(instance: ServerInstance, **fields: Any) -> tuple[AuthLink, str]:
    asked = LinkRequest(**({"email": JANE} | fields))
    return make_link(project=instance.project, asked=asked, created_by="x", now=timezone.now())


def opened(instance: ServerInstance, **fields: Any) -> tuple[Browser, str]:
    """Open a link in a browser of its own; returns it with the clean address."""
    _, token = link_for(instance, **fields)
    browser = Browser()
    response = browser.get(f"/connect/{token}")
    assert response.status_code == 303
    return browser, response["Location"]


def test_the_token_is_exchanged_for_a_cookie_of_that_link_and_a_clean_address() -> None:
    link, token = link_for(connected_server())
    response = Browser().get(f"/connect/{token}")
    assert (response.status_code, response["Location"]) == (303, f"/connect/l/{link.pk}/")
    cookie = response.cookies["caylex_visit"]
    assert cookie["path"] == f"/connect/l/{link.pk}/"
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")
    assert token not in str(response.headers)
    assert cookie.value not in str(list(LinkVisit.objects.values()))
    assert token not in str(list(AuthLink.objects.values()))


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/connect/secret-token", "/connect/***"),
        ("/connect/secret/more", "/connect/***"),
        ("/connect/l/0/", "/connect/l/0/"),
        ("/connections/x", "/connections/x"),
        ("/api/v1/agent-task", "/api/v1/agent-task"),
    ],
)
def test_a_log_line_never_holds_the_token_of_a_link(path: str, logged: str) -> None:
    assert loggable_path(path) == logged


@pytest.mark.parametrize("token", ["x", "a" * 43, "%00", "ä", "../admin"])
def test_any_other_token_is_one_and_the_same_page(token: str) -> None:
    response = Browser().get(f"/connect/{token}")
    assert response.status_code == 404
    if "/" not in token:
        assert "This link has ended or is not complete." in text_of(response)


@pytest.mark.parametrize("end", ["revoked", "expired", "project", "tenant"])
def test_a_link_that_has_ended_opens_no_more_and_its_page_neither(end: str) -> None:
    instance = connected_server()
    _, token = link_for(instance)
    browser = Browser()
    page = browser.get(f"/connect/{token}")["Location"]
    assert browser.get(page).status_code == 200
    now = timezone.now()
    if end == "revoked":
        AuthLink.objects.update(revoked_at=now)
    elif end == "expired":
        AuthLink.objects.update(expires_at=now)
    elif end == "project":
        type(instance.project).objects.update(disabled_at=now)
    else:
        type(instance.project.tenant).objects.update(disabled_at=now)
    assert browser.get(page).status_code == 404
    assert Browser().get(f"/connect/{token}").status_code == 404


def test_a_page_without_its_cookie_or_with_that_of_another_link_is_none() -> None:
    first, page = opened(connected_server())
    other, other_page = opened(connected_server())
    assert Browser().get(page).status_code == 404
    assert first.get(other_page).status_code == 404
    first.cookies["caylex_visit"] = other.cookies["caylex_visit"].value
    assert first.get(page).status_code == 404


def test_opening_changes_nothing_and_needs_no_proof_where_the_link_is_bound() -> None:
    browser, page = opened(connected_server())
    response = browser.get(page)
    assert f"Connect accounts for {JANE}" in text_of(response)
    assert not Credential.objects.exists()
    assert not EndUser.objects.exists()
    assert AuthLink.objects.get().uses == 0


def test_the_page_has_a_strict_policy_that_lets_forms_lead_elsewhere() -> None:
    browser, page = opened(connected_server())
    policy = browser.get(page)["Content-Security-Policy"]
    directives = dict(each.split(" ", 1) for each in policy.split("; "))
    assert directives["form-action"] == "'self' https: http:"
    assert directives["frame-ancestors"] == directives["default-src"] == "'none'"
    assert directives["script-src"] == "'self'"
    assert browser.get(page)["Referrer-Policy"] == "same-origin"
    assert "no-store" in browser.get(page)["Cache-Control"]


def test_a_key_is_kept_for_the_person_of_the_link() -> None:
    instance = connected_server()
    browser, page = opened(instance)
    response = browser.post(f"{page}{instance.pk}/value", {"value": "planted-s3cret"})
    assert response.status_code == 303
    row = Credential.objects.get()
    assert (row.end_user and row.end_user.email, value_of(row)) == (JANE, "planted-s3cret")
    shown = text_of(browser.get(page))
    assert "Everything is connected." in shown
    assert "planted" not in shown


@pytest.mark.parametrize("value", ["", "short", "line\nbreak-in-it", "x" * 4097])
def test_a_key_that_cannot_be_one_is_a_sentence(value: str) -> None:
    instance = connected_server()
    browser, page = opened(instance)
    response = browser.post(f"{page}{instance.pk}/value", {"value": value})
    assert response.status_code == 400
    assert "The value" in text_of(response)
    assert not Credential.objects.exists()


def test_a_post_without_its_csrf_token_is_refused() -> None:
    instance = connected_server()
    browser, page = opened(instance)
    strict = Browser(enforce_csrf_checks=True)
    strict.cookies = browser.cookies
    response = strict.post(f"{page}{instance.pk}/value", {"value": "planted-s3cret"})
    assert response.status_code == 403
    assert not Credential.objects.exists()


def test_a_server_that_is_not_on_the_link_cannot_be_connected_by_it() -> None:
    instance, other = connected_server(), connected_server()
    browser, page = opened(instance)
    response = browser.post(f"{page}{other.pk}/value", {"value": "planted-s3cret"})
    assert response.status_code == 404
    assert not Credential.objects.exists()


def test_a_key_server_is_disconnected() -> None:
    instance = connected_server()
    browser, page = opened(instance)
    browser.post(f"{page}{instance.pk}/value", {"value": "planted-s3cret"})
    assert browser.post(f"{page}{instance.pk}/disconnect").status_code == 303
    assert not Credential.objects.exists()


def test_a_project_link_is_for_one_use() -> None:
    instance = connected_server(auth_level="project")
    _, token = link_for(instance, kind=LinkKind.PROJECT)
    first, second = Browser(), Browser()
    pages = [each.get(f"/connect/{token}")["Location"] for each in (first, second)]
    assert (
        first.post(f"{pages[0]}{instance.pk}/value", {"value": "first-s3cret"}).status_code == 303
    )
    late = second.post(f"{pages[1]}{instance.pk}/value", {"value": "second-s3cret"})
    assert (late.status_code, "has been used" in text_of(late)) == (400, True)
    assert Browser().get(f"/connect/{token}").status_code == 404
    row = Credential.objects.get()
    assert (row.end_user, value_of(row)) == (None, "first-s3cret")
    # The browser that used it may still replace what it connected.
    again = first.post(f"{pages[0]}{instance.pk}/value", {"value": "third-s3cret"})
    assert again.status_code == 303


class TestProof:
    """A link for a domain asks who comes."""

    def asked(self, **fields: Any) -> tuple[Browser, str]:
        self.instance = connected_server()
        return opened(self.instance, email="", email_domain="example.com", **fields)

    def code(self) -> str:
        found = re.search(r"\b(\d{6})\b", str(mail.outbox[-1].body))
        assert found
        return found[1]

    def test_nothing_is_shown_before_the_address_is_proven(self) -> None:
        browser, page = self.asked()
        assert "Confirm your address" in text_of(browser.get(page))
        posted = browser.post(f"{page}{self.instance.pk}/value", {"value": "planted-s3cret"})
        assert "Confirm your address" in text_of(posted)
        assert not Credential.objects.exists()

    def test_a_code_by_mail_proves_it_and_the_credential_is_that_persons(self) -> None:
        browser, page = self.asked()
        browser.post(f"{page}address", {"email": "Jane@Example.com"})
        assert [each.to for each in mail.outbox] == [[JANE]]
        assert "example.com" not in str(mail.outbox[0].body)  # no words of the tenant
        assert browser.post(f"{page}code", {"code": self.code()}).status_code == 303
        browser.post(f"{page}{self.instance.pk}/value", {"value": "planted-s3cret"})
        row = Credential.objects.get()
        assert row.end_user is not None
        assert row.end_user.email == JANE

    @pytest.mark.parametrize(
        "address", ["jane@other.com", "jane@sub.example.com", "jane@example.com.evil.com"]
    )
    def test_an_address_that_the_link_is_not_for_gets_the_same_answer_and_no_mail(
        self, address: str
    ) -> None:
        browser, page = self.asked()
        told = text_of(browser.post(f"{page}address", {"email": address}))
        assert f"If {address} may use this link, a code is on its way" in told
        assert mail.outbox == []

    def test_what_is_no_address_is_a_sentence(self) -> None:
        browser, page = self.asked()
        response = browser.post(f"{page}address", {"email": "jane"})
        assert (response.status_code, "not an e-mail address" in text_of(response)) == (400, True)

    def test_five_wrong_codes_end_it(self) -> None:
        browser, page = self.asked()
        browser.post(f"{page}address", {"email": JANE})
        right = self.code()
        wrong = f"{(int(right) + 1) % 10**6:06d}"
        for _ in range(5):
            assert browser.post(f"{page}code", {"code": wrong}).status_code == 400
        assert browser.post(f"{page}code", {"code": right}).status_code == 400
        assert LinkVisit.objects.get().proven_at is None

    def test_a_code_is_for_the_browser_that_asked_and_good_once(self) -> None:
        browser, page = self.asked()
        browser.post(f"{page}address", {"email": JANE})
        other = Browser()
        token = link_for(self.instance, email="", email_domain="example.com")[1]
        other_page = other.get(f"/connect/{token}")["Location"]
        assert other.post(f"{other_page}code", {"code": self.code()}).status_code == 400
        assert browser.post(f"{page}code", {"code": self.code()}).status_code == 303
        assert browser.post(f"{page}code", {"code": self.code()}).status_code == 400

    def test_a_code_ends_after_ten_minutes(self) -> None:
        browser, page = self.asked()
        browser.post(f"{page}address", {"email": JANE})
        from caylex_project.integrations.models import EmailCode

        EmailCode.objects.update(expires_at=timezone.now())
        assert browser.post(f"{page}code", {"code": self.code()}).status_code == 400

    def test_three_mails_an_hour_for_one_address_and_link(self) -> None:
        browser, page = self.asked()
        for _ in range(5):
            assert browser.post(f"{page}address", {"email": JANE}).status_code == 200
        assert len(mail.outbox) == 3

    def test_twenty_mails_a_day_for_one_address_over_all_links(self) -> None:
        for _ in range(8):
            browser, page = self.asked()
            for _ in range(3):
                browser.post(f"{page}address", {"email": JANE})
        assert len(mail.outbox) == 20

    def test_a_bound_link_asks_too_where_the_project_says_so(self) -> None:
        instance = connected_server(project__prove_address=True)
        browser, page = opened(instance)
        assert "Confirm your address" in text_of(browser.get(page))


class TestOAuth:
    """A server with OAuth is connected by the browser's way out and back."""

    def sent_out(self, authority: Authority, **fields: Any) -> tuple[Browser, str, str]:
        """Press *Connect*; returns the browser, the page and where it is sent."""
        self.instance = connected_server(
            server__url=authority.mcp, server__auth_kind="oauth2", **fields
        )
        browser, page = opened(self.instance)
        response = browser.post(f"{page}{self.instance.pk}/connect")
        assert response.status_code == 303, text_of(response)
        return browser, page, response["Location"]

    def test_the_whole_way(self, authority: Authority) -> None:
        browser, page, out = self.sent_out(authority)
        assert out.startswith(f"{authority.base}/authorize?")
        response = browser.get("/oauth/callback", authority.consent(out))
        assert (response.status_code, response["Location"]) == (303, page)
        row = Credential.objects.get()
        tokens = tokens_of(row)
        assert tokens is not None
        assert authority.access_tokens[tokens.access] == "jane"
        assert (row.issuer, row.resource) == (authority.issuer, authority.mcp)
        assert row.end_user is not None
        assert row.end_user.email == JANE
        assert "Everything is connected." in text_of(browser.get(page))

    def test_no_secret_is_in_any_page_address_or_row(
        self, authority: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        browser, page, out = self.sent_out(authority)
        back = authority.consent(out)
        browser.get("/oauth/callback", back)
        tokens = tokens_of(Credential.objects.get())
        assert tokens is not None
        dump = str(list(Credential.objects.values())) + str(list(OAuthClient.objects.values()))
        shown = browser.get(page).content.decode() + dump + caplog.text
        for secret in (tokens.access, tokens.refresh, back["code"], back["state"]):
            assert secret not in shown

    def test_another_browser_cannot_bring_the_answer(self, authority: Authority) -> None:
        _, _, out = self.sent_out(authority)
        answer = authority.consent(out)
        stranger, *_ = opened(self.instance)
        response = stranger.get("/oauth/callback", answer)
        assert (response.status_code, "does not belong to this browser" in text_of(response)) == (
            400,
            True,
        )
        assert not Credential.objects.exists()
        assert authority.posts("/token") == []

    def test_a_replayed_or_late_answer_stores_nothing(self, authority: Authority) -> None:
        from caylex_project.integrations.models import OAuthState

        browser, _, out = self.sent_out(authority)
        answer = authority.consent(out)
        cookie = browser.cookies["caylex_oauth"].value
        browser.get("/oauth/callback", answer)
        Credential.objects.all().delete()
        browser.cookies["caylex_oauth"] = cookie
        assert browser.get("/oauth/callback", answer).status_code == 400
        OAuthState.objects.update(used_at=None, expires_at=timezone.now())
        browser.cookies["caylex_oauth"] = cookie
        assert browser.get("/oauth/callback", answer).status_code == 400
        assert not Credential.objects.exists()
        assert len(authority.posts("/token")) == 1

    def test_the_issuer_of_the_answer_is_compared_before_the_code_is_redeemed(
        self, authority: Authority
    ) -> None:
        browser, _, out = self.sent_out(authority)
        answer = authority.consent(out) | {"iss": "https://evil.example"}
        response = browser.get("/oauth/callback", answer)
        assert (response.status_code, authority.posts("/token")) == (400, [])
        assert not Credential.objects.exists()

    def test_a_refusal_is_said(self, authority: Authority) -> None:
        browser, _, out = self.sent_out(authority)
        response = browser.get("/oauth/callback", authority.consent(out, user="deny"))
        assert "Access was not granted" in text_of(response)

    @pytest.mark.parametrize("change", ["link", "user", "server", "instance"])
    def test_all_is_looked_at_again_when_the_browser_comes_back(
        self, authority: Authority, change: str
    ) -> None:
        browser, _, out = self.sent_out(authority)
        answer = authority.consent(out)
        now = timezone.now()
        if change == "link":
            AuthLink.objects.update(revoked_at=now)
        elif change == "user":
            EndUser.objects.update(disabled_at=now)
        elif change == "server":
            type(self.instance.server).objects.update(url="https://other.example/mcp")
        else:
            self.instance.delete()
        assert browser.get("/oauth/callback", answer).status_code == 400
        assert not Credential.objects.exists()

    def test_two_users_at_once_end_with_their_own_credentials(self, authority: Authority) -> None:
        self.instance = connected_server(server__url=authority.mcp, server__auth_kind="oauth2")
        browsers = {}
        for name in ("jane", "joe"):
            browser, page = opened(self.instance, email=f"{name}@example.com")
            out = browser.post(f"{page}{self.instance.pk}/connect")["Location"]
            browsers[name] = (browser, authority.consent(out, user=name))
        for browser, answer in browsers.values():
            assert browser.get("/oauth/callback", answer).status_code == 303
        for row in Credential.objects.select_related("end_user"):
            tokens = tokens_of(row)
            assert tokens is not None
            assert row.end_user is not None
            assert row.end_user.email == f"{authority.access_tokens[tokens.access]}@example.com"
        assert Credential.objects.count() == 2
        assert len(authority.clients) == 1

    def test_a_registration_is_made_once_and_anew_where_its_server_forgot_it(
        self, authority: Authority
    ) -> None:
        browser, page, out = self.sent_out(authority)
        authority.forgets_clients = True
        response = browser.get("/oauth/callback", authority.consent(out))
        assert (response.status_code, "invalid_client" in text_of(response)) == (400, True)
        authority.forgets_clients = False
        out = browser.post(f"{page}{self.instance.pk}/connect")["Location"]
        assert browser.get("/oauth/callback", authority.consent(out)).status_code == 303
        assert len(authority.clients) == 2

    def test_a_server_that_cannot_be_discovered_is_a_sentence_on_the_page(
        self, authority: Authority
    ) -> None:
        authority.metadata = {"code_challenge_methods_supported": None}
        instance = connected_server(server__url=authority.mcp, server__auth_kind="oauth2")
        browser, page = opened(instance)
        response = browser.post(f"{page}{instance.pk}/connect")
        assert (response.status_code, "PKCE" in text_of(response)) == (502, True)

    def test_without_a_public_address_the_page_says_what_the_operator_has_to_set(
        self, authority: Authority, settings: Any
    ) -> None:
        settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"caylex_public_url": ""})
        instance = connected_server(server__url=authority.mcp, server__auth_kind="oauth2")
        browser, page = opened(instance)
        response = browser.post(f"{page}{instance.pk}/connect")
        assert "CAYLEX_PUBLIC_URL" in text_of(response)

    def test_disconnecting_revokes(self, authority: Authority) -> None:
        browser, page, out = self.sent_out(authority)
        browser.get("/oauth/callback", authority.consent(out))
        assert browser.post(f"{page}{self.instance.pk}/disconnect").status_code == 303
        assert not Credential.objects.exists()
        assert authority.refresh_tokens == {}


def test_the_document_that_describes_us_is_served() -> None:
    response = Browser().get("/oauth/client.json")
    assert response.json()["client_id"] == f"{PUBLIC}/oauth/client.json"
    assert response.json()["redirect_uris"] == [f"{PUBLIC}/oauth/callback"]


def test_a_link_lives_no_longer_than_ninety_days() -> None:
    from caylex_project.integrations.links import LinkRefused

    instance = connected_server()
    later = timezone.now() + datetime.timedelta(days=91)
    with pytest.raises(LinkRefused, match="within 90 days"):
        link_for(instance, expires_at=later)


def test_without_mail_a_link_that_needs_proof_is_refused_and_the_page_says_why(
    settings: Any,
) -> None:
    instance = connected_server()
    browser, page = opened(instance, email="", email_domain="example.com")
    settings.SENDS_MAIL = False
    with pytest.raises(LinkRefused, match="its operator has to set EMAIL_URL"):
        link_for(instance, email="", email_domain="example.com")
    instance.project.prove_address = True
    instance.project.save()
    with pytest.raises(LinkRefused, match="its operator has to set EMAIL_URL"):
        link_for(instance)
    assert AuthLink.objects.count() == 1
    answer = browser.post(f"{page}address", {"email": JANE})
    assert answer.status_code == 503
    assert "its operator has to set EMAIL_URL" in text_of(answer)
    assert mail.outbox == []


def test_a_client_that_was_registered_by_hand_is_used_and_kept_by_its_issuer(
    authority: Authority,
) -> None:
    authority.registers = False
    authority.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    instance = connected_server(server__auth_kind="oauth2", server__url=authority.mcp)
    row = enter_client(
        server=instance.server, issuer=authority.issuer, client_id="by-hand", secret="hush-hush"
    )
    browser, page = opened(instance)
    sent = browser.post(f"{page}{instance.pk}/connect")["Location"]
    answer = authority.consent(sent)
    assert browser.get("/oauth/callback", answer).status_code == 303
    (form,) = authority.posts("/token")
    assert (form["client_id"], form["client_secret"]) == ("by-hand", "hush-hush")
    credential = Credential.objects.get()
    assert credential.client == row
    other = enter_client(
        server=instance.server, issuer="https://b.example", client_id="b", secret=""
    )
    assert (Credential.objects.get().client, OAuthClient.objects.count()) == (row, 2)
    refused = browser.post(f"{page}{instance.pk}/connect")
    assert refused.status_code == 502
    assert f"belongs to {other.issuer}" in text_of(refused)
    instance.server.delete()
    assert not Credential.objects.exists()


def test_what_ended_a_day_ago_is_deleted_with_its_codes_and_what_was_connected_stays() -> None:
    instance = connected_server()
    browser, page = opened(instance, email="", email_domain="example.com")
    browser.post(f"{page}address", {"email": JANE})
    store_credential(
        instance=instance,
        end_user=EndUser.objects.create(project=instance.project, email=JANE),
        value="a-value-of-length",
    )
    now = timezone.now()
    for task_id in (uuid.uuid4(), uuid.uuid4()):
        link_of_task(
            project=instance.project,
            email=JANE,
            servers=[instance.server.name],
            task_id=task_id,
            run_number=1,
            now=now,
        )
    AuthLink.objects.filter(task_id=task_id).update(expires_at=now - datetime.timedelta(days=1))
    prune_links(now=now + datetime.timedelta(minutes=1))
    assert (LinkVisit.objects.count(), AuthLink.objects.count()) == (1, 2)
    prune_links(now=now + datetime.timedelta(days=1, hours=2))
    assert (LinkVisit.objects.count(), EmailCode.objects.count()) == (0, 0)
    assert Credential.objects.count() == 1
