"""End users: one row for an address within a project, whatever its case, whoever comes first."""

from __future__ import annotations

import threading

import pytest
from django.db import connection

from caylex_project.accounts.end_users import EmailRefused, end_user, normalise_email
from caylex_project.accounts.models import EndUser
from tests.support.factories import ProjectFactory


def test_an_address_is_kept_in_lower_case() -> None:
    assert normalise_email("Jane.Doe+x@Example.COM") == "jane.doe+x@example.com"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "jane",
        "jane@",
        "@example.com",
        "jane@example.com ",
        "jane@example.com\n",
        "jane@exa\x00mple.com",
        '"jane\x01"@example.com',
        '"a b"@example.com',
        "jürgen@example.com",
        "jane@bücher.example",
        "\u212aelvin@example.com",
        "\ud800@example.com",
        "a" * 250 + "@example.com",
        "x" * 100_000,
    ],
)
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    with pytest.raises(EmailRefused) as refused:
        normalise_email(text)
    assert text.strip() == "" or text not in str(refused.value)


@pytest.mark.django_db
def test_the_same_address_in_another_case_is_the_same_user() -> None:
    project = ProjectFactory()

    first = end_user(project=project, email="Jane@Example.com")

    assert end_user(project=project, email="jane@EXAMPLE.com") == first
    assert first.email == "jane@example.com"
    assert EndUser.objects.count() == 1


@pytest.mark.django_db
def test_another_project_has_a_user_of_its_own() -> None:
    assert end_user(project=ProjectFactory(), email="jane@example.com") != end_user(
        project=ProjectFactory(), email="jane@example.com"
    )


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_eight_at_once_make_one_user() -> None:
    project = ProjectFactory()
    start = threading.Barrier(8)
    found: list[object] = []

    def make() -> None:
        try:
            start.wait(timeout=30)
            found.append(end_user(project=project, email="jane@example.com").pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert len(found) == 8
    assert len(set(found)) == 1
    assert EndUser.objects.count() == 1
