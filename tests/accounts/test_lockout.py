"""Guessing a password from many addresses, or from one that says it is many."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User

from tests.accounts.test_admin import Browser
from tests.support.cluster import database_url
from tests.support.web_process import PATIENCE, running_web

LOGIN = "/admin/login/"
PASSWORD = "a long password"


def sign_in(password: str, *, name: str = "sue", address: str = "127.0.0.1") -> int:
    answer: Any = Browser(REMOTE_ADDR=address).post(
        LOGIN, {"username": name, "password": password, "next": "/admin/"}
    )
    return int(answer.status_code)


@pytest.fixture
def sue(transactional_db: None) -> User:
    """A superuser."""
    return User.objects.create_superuser("sue", password=PASSWORD)


@pytest.mark.django_db
def test_guesses_from_many_addresses_lock_the_name_and_no_other(sue: User) -> None:
    User.objects.create_superuser("tom", password=PASSWORD)
    statuses = [sign_in("wrong", address=f"192.0.2.{number}") for number in range(50)]

    assert statuses == [200] * 49 + [429]
    assert sign_in(PASSWORD, address="198.51.100.1") == 429
    assert sign_in(PASSWORD, name="tom", address="198.51.100.1") == 302


@pytest.mark.django_db
def test_a_success_forgets_the_failures_of_its_own_address_alone(sue: User) -> None:
    for number in range(40):
        sign_in("wrong", address=f"192.0.2.{number % 10}")
    sign_in("wrong", address="198.51.100.1")

    assert sign_in(PASSWORD, address="198.51.100.1") == 302

    assert AccessAttempt.objects.count() == 10
    assert sign_in("wrong", address="192.0.2.0") == 429


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["unknown", "", "fe80::1%eth0", "[::1", "1.2.3.4, 5.6.7.8"])
def test_an_address_that_is_none_counts_as_none(sue: User, address: str) -> None:
    assert [sign_in("wrong", address=address) for _ in range(5)] == [200] * 4 + [429]
    assert sign_in(PASSWORD, address=address) == 429
    assert set(AccessAttempt.objects.values_list("ip_address", flat=True)) == {None}


@pytest.mark.django_db
def test_who_tries_on_does_not_prolong_the_lock(sue: User) -> None:
    for _ in range(5):
        sign_in("wrong")
    [(since, failures)] = AccessAttempt.objects.values_list("attempt_time", "failures_since_start")

    assert [sign_in("wrong"), sign_in(PASSWORD)] == [429, 429]

    [attempt] = AccessAttempt.objects.all()
    assert (attempt.attempt_time, attempt.failures_since_start) == (since, failures)
    AccessAttempt.objects.update(attempt_time=since - datetime.timedelta(seconds=900))
    assert sign_in(PASSWORD) == 302


@pytest.fixture
def browser(sue: User, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """Somebody at the sign-in page of a real web process."""
    settings: dict[str, str] = getattr(request, "param", {})
    with (
        running_web(database=database_url(), **settings) as web,
        httpx.Client(
            base_url=web.address,
            headers={
                "X-Forwarded-Proto": "https",
                "Referer": "https://localhost/",
                "Host": "localhost",
            },
            timeout=PATIENCE,
            trust_env=False,
        ) as client,
    ):
        yield client


def post(client: httpx.Client, password: str, address: str) -> int:
    """Sign in with an address that is only said."""
    page = client.get(LOGIN)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert token is not None, page.text
    answer = client.post(
        LOGIN,
        data={
            "username": "sue",
            "password": password,
            "next": "/admin/",
            "csrfmiddlewaretoken": token[1],
        },
        headers={
            "X-Forwarded-For": address,
            "Cookie": f"csrftoken={page.cookies['csrftoken']}",
        },
    )
    return answer.status_code


@pytest.mark.django_db(transaction=True)
def test_a_new_address_in_a_header_is_no_new_address(browser: httpx.Client) -> None:
    statuses = [post(browser, "wrong", f"203.0.113.{number}") for number in range(5)]

    assert statuses == [200] * 4 + [429]
    assert post(browser, PASSWORD, "203.0.113.99") == 429
    assert post(browser, PASSWORD, "unknown") == 429
    assert list(AccessAttempt.objects.values_list("ip_address", flat=True)) == ["127.0.0.1"]


@pytest.mark.parametrize("browser", [{"CAYLEX_TRUSTED_PROXIES": "127.0.0.1"}], indirect=True)
@pytest.mark.django_db(transaction=True)
def test_a_proxy_that_is_trusted_tells_the_addresses_apart(browser: httpx.Client) -> None:
    for _ in range(5):
        post(browser, "wrong", "203.0.113.7")

    assert post(browser, PASSWORD, "203.0.113.7") == 429
    assert post(browser, "wrong", "unknown") == 200
    assert post(browser, PASSWORD, "198.51.100.1, 203.0.113.8") == 302
    known = AccessAttempt.objects.values_list("ip_address", flat=True)
    assert set(known) == {"203.0.113.7", "127.0.0.1"}
