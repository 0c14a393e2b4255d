"""Signing in to the admin: throttled, with a second factor for who turned it on."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from caylex_project.accounts.models import AuditEntry
from tests.accounts.test_admin import Browser, text_of

pytestmark = pytest.mark.django_db
LOGIN = "/admin/login/"
PAGE = "/admin/second-factor/"


@pytest.fixture
def sue() -> User:
    """A superuser."""
    return User.objects.create_superuser("sue", password="a long password")


def sign_in(browser: Browser, password: str = "a long password", **more: str) -> Any:
    return browser.post(LOGIN, {"username": "sue", "password": password, "next": "/admin/", **more})


def code_of(key: str) -> str:
    return f"{TOTP(bytes.fromhex(key)).token():06d}"


def test_five_wrong_passwords_lock_a_name_from_one_address(sue: User) -> None:
    for _ in range(4):
        assert sign_in(Browser(), "wrong").status_code == 200

    fifth = sign_in(Browser(), "wrong")
    right = sign_in(Browser())

    assert (fifth.status_code, right.status_code) == (429, 429)
    assert "locked for a while" in text_of(right)
    assert "unsafe" not in right["Content-Security-Policy"]
    elsewhere = Browser(REMOTE_ADDR="192.0.2.7")
    assert sign_in(elsewhere).status_code == 302


@pytest.mark.parametrize("field", ["username", "password", "next", "otp_token", "other"])
def test_nul_in_a_sign_in_is_no_server_error(sue: User, field: str) -> None:
    answer = Browser().post(LOGIN, {"username": "sue", "password": "wrong", field: "a\0b"})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("field", "value", "refusal"),
    [
        ("username", "s" * 151, "at most 150 characters"),
        ("username", "s" * 256, "at most 150 characters"),
        ("username", "s" * 1_000_000, "at most 150 characters"),
        ("username", "ﷺ" * 255, "at most 150 characters"),  # 18 times as long once normalised
        ("username", "", "This field is required."),
        ("password", "s" * 4_097, "at most 4096 characters"),
        ("password", "", "This field is required."),
        ("otp_token", "1" * 11, "at most 10 characters"),
    ],
)
def test_a_field_that_is_not_valid_ends_a_sign_in_before_anybody_looks_for_a_user(
    sue: User, field: str, value: str, refusal: str
) -> None:
    said = {"username": "sue", "password": "wrong", "next": "/admin/", field: value}

    answer = Browser(raise_request_exception=False).post(LOGIN, said)

    assert answer.status_code == 200
    assert refusal in text_of(answer)
    assert not AccessAttempt.objects.exists()


@pytest.mark.parametrize("header", ["HTTP_USER_AGENT", "HTTP_ACCEPT"])
def test_a_wrong_sign_in_with_a_long_header_is_counted_and_no_server_error(
    sue: User, header: str
) -> None:
    browser = Browser(raise_request_exception=False)
    browser.defaults[header] = "x" * 10_000

    assert sign_in(browser, "wrong").status_code == 200
    assert AccessAttempt.objects.count() == 1


def test_a_second_factor_is_turned_on_asked_for_and_turned_off(sue: User) -> None:
    browser = Browser()
    browser.force_login(sue)
    page = browser.get(PAGE)
    sealed = re.search(r'name="key" value="([^"]+)"', text_of(page))
    assert 'src="data:image/svg+xml;base64,' in text_of(page)
    assert sealed is not None
    assert not TOTPDevice.objects.exists()
    typed = re.search(r"<code>([A-Z2-7]{32})</code>", text_of(page))
    assert typed is not None

    wrong = browser.post(PAGE, {"code": "000000", "key": "made:up:key"})
    assert wrong.status_code == 200
    assert not TOTPDevice.objects.exists()

    key = base64.b32decode(typed[1]).hex()
    assert browser.post(PAGE, {"code": code_of(key), "key": sealed[1]}).status_code == 302
    device = TOTPDevice.objects.get()
    assert (device.user, device.key) == (sue, key)
    assert sign_in(Browser()).status_code == 200
    assert sign_in(Browser(), otp_token="12345x").status_code == 200
    TOTPDevice.objects.update(last_t=-1, throttling_failure_count=0)
    assert sign_in(Browser(), otp_token=code_of(key)).status_code == 302

    TOTPDevice.objects.update(last_t=-1)
    assert browser.post(PAGE, {"code": code_of(key)}).status_code == 302
    assert not TOTPDevice.objects.exists()
    said = list(AuditEntry.objects.order_by("id").values_list("actor", "action"))
    assert said == [("sue", "second factor on"), ("sue", "second factor off")]


def test_a_code_works_once(sue: User) -> None:
    device = TOTPDevice.objects.create(user=sue, name="x")
    code = code_of(device.key)

    assert sign_in(Browser(), otp_token=code).status_code == 302
    assert sign_in(Browser(), otp_token=code).status_code == 200


def test_no_page_shows_the_key_of_an_authenticator(sue: User) -> None:
    device = TOTPDevice.objects.create(user=sue, name="x")
    browser = Browser()
    browser.force_login(sue)

    assert browser.get("/admin/otp_totp/totpdevice/").status_code == 404
    assert device.key not in text_of(browser.get(PAGE))
