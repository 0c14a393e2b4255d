"""What the agent may reach as one user, and with whose credential."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection

from agent_runtime.mcp.access import ServerAccess
from agent_runtime.messages import Permission
from caylex_project.accounts.models import EndUser, Navigator
from caylex_project.integrations.access import accesses_for
from caylex_project.integrations.credentials import (
    CredentialRefused,
    store_credential,
    value_of,
)
from caylex_project.integrations.models import Credential, Server, ServerInstance, ToolPermission
from tests.support.factories import (
    EndUserFactory,
    NavigatorFactory,
    ProjectFactory,
    ServerFactory,
    ServerInstanceFactory,
)

pytestmark = pytest.mark.django_db
VALUE = "opensesame-1"


@pytest.fixture
def navigator() -> Navigator:
    made: Navigator = NavigatorFactory()
    return made


@pytest.fixture
def jane(navigator: Navigator) -> EndUser:
    made: EndUser = EndUserFactory(project=navigator.project, email="jane@example.com")
    return made


def connect(navigator: Navigator, name: str, kind: str = "none", **fields: Any) -> ServerInstance:
    """Connect a server to the navigator's project."""
    level = fields.pop("level", "project")
    paused = fields.pop("paused", False)
    server = ServerFactory(tenant=navigator.project.tenant, name=name, auth_kind=kind, **fields)
    made: ServerInstance = ServerInstanceFactory(
        project=navigator.project, server=server, auth_level=level, paused=paused
    )
    return made


def reach(navigator: Navigator, user: EndUser) -> list[ServerAccess]:
    """What the agent may reach for that user."""
    return accesses_for(project=navigator.project, navigator=navigator, end_user=user)


def test_a_server_without_credential_is_reached_as_it_is(
    navigator: Navigator, jane: EndUser
) -> None:
    connect(navigator, "docs", repeatable_tools=["lookup"])

    [access] = reach(navigator, jane)

    assert access.name == "docs"
    assert access.url == "https://tools.example.com/mcp"
    assert (access.headers, access.query, access.path, access.secrets) == ({}, {}, {}, ())
    assert access.repeatable == frozenset({"lookup"})
    assert (access.problem, access.needs_credential) == ("", False)


@pytest.mark.parametrize(
    ("kind", "fields", "headers", "query", "path"),
    [
        ("bearer", {}, {"Authorization": f"Bearer {VALUE}"}, {}, {}),
        (
            "header",
            {"auth_name": "X-Key", "auth_prefix": "Token "},
            {"X-Key": f"Token {VALUE}"},
            {},
            {},
        ),
        ("query", {"auth_name": "key"}, {}, {"key": VALUE}, {}),
        (
            "path",
            {"auth_name": "key", "url": "https://a.example/{key}/mcp"},
            {},
            {},
            {"key": VALUE},
        ),
    ],
)
def test_each_kind_has_its_place(
    navigator: Navigator,
    jane: EndUser,
    kind: str,
    fields: dict[str, str],
    headers: dict[str, str],
    query: dict[str, str],
    path: dict[str, str],
) -> None:
    instance = connect(navigator, "crm", kind, **fields)
    store_credential(instance=instance, end_user=None, value=VALUE)

    [access] = reach(navigator, jane)

    assert (access.headers, access.query, access.path) == (headers, query, path)
    assert access.secrets == (VALUE,)
    assert VALUE not in repr(access)
    assert VALUE not in access.url
    assert VALUE not in access.catalogue_key


def test_each_user_is_reached_with_his_own_credential(navigator: Navigator, jane: EndUser) -> None:
    john = EndUserFactory(project=navigator.project, email="john@example.com")
    ann = EndUserFactory(project=navigator.project, email="ann@example.com")
    instance = connect(navigator, "crm", "bearer", level="user")
    store_credential(instance=instance, end_user=jane, value="janes-secret")
    store_credential(instance=instance, end_user=john, value="johns-secret")

    assert reach(navigator, jane)[0].headers == {"Authorization": "Bearer janes-secret"}
    assert reach(navigator, jane)[0].secrets == ("janes-secret",)
    assert reach(navigator, john)[0].headers == {"Authorization": "Bearer johns-secret"}
    [without] = reach(navigator, ann)
    assert without.problem == "ann@example.com must connect crm first."
    assert without.needs_credential
    assert (without.headers, without.secrets) == ({}, ())


def test_a_user_level_server_never_falls_back_on_a_project_credential(
    navigator: Navigator, jane: EndUser
) -> None:
    instance = connect(navigator, "crm", "bearer")
    store_credential(instance=instance, end_user=None, value=VALUE)
    ServerInstance.objects.filter(pk=instance.pk).update(auth_level="user")

    [access] = reach(navigator, jane)

    assert access.needs_credential
    assert access.headers == {}


def test_a_project_credential_that_is_missing_is_said(navigator: Navigator, jane: EndUser) -> None:
    connect(navigator, "crm", "bearer")

    [access] = reach(navigator, jane)

    assert access.problem == "An administrator must connect crm first."
    assert access.needs_credential


@pytest.mark.parametrize("damage", ["flipped", "swapped", "empty"])
def test_a_value_that_does_not_open_needs_a_credential(
    navigator: Navigator, jane: EndUser, damage: str
) -> None:
    john = EndUserFactory(project=navigator.project)
    instance = connect(navigator, "crm", "bearer", level="user")
    row = store_credential(instance=instance, end_user=jane, value="janes-secret")
    johns = store_credential(instance=instance, end_user=john, value="johns-secret")
    sealed = bytearray(row.sealed)
    sealed[-1] ^= 1
    damaged = {"flipped": bytes(sealed), "swapped": bytes(johns.sealed), "empty": b""}[damage]
    Credential.objects.filter(pk=row.pk).update(sealed=damaged)

    [access] = reach(navigator, jane)

    assert access.problem == "jane@example.com must connect crm first."
    assert (access.headers, access.secrets) == ({}, ())
    assert reach(navigator, john)[0].headers == {"Authorization": "Bearer johns-secret"}


def test_a_value_that_no_longer_fits_the_kind_needs_a_credential(
    navigator: Navigator, jane: EndUser
) -> None:
    instance = connect(navigator, "crm", "query", auth_name="key")
    store_credential(instance=instance, end_user=None, value="geheimnis-ü")
    Server.objects.update(auth_kind="bearer", auth_name="")

    [access] = reach(navigator, jane)

    assert access.needs_credential
    assert access.headers == {}


def test_a_paused_server_and_those_of_other_projects_are_not_there(
    navigator: Navigator, jane: EndUser
) -> None:
    connect(navigator, "paused", paused=True)
    connect(NavigatorFactory(project=ProjectFactory(tenant=navigator.project.tenant)), "theirs")
    connect(navigator, "b")
    connect(navigator, "a")

    assert [each.name for each in reach(navigator, jane)] == ["a", "b"]


def test_permissions_are_those_of_this_navigator(navigator: Navigator, jane: EndUser) -> None:
    instance = connect(navigator, "crm")
    other = NavigatorFactory(project=navigator.project)
    for whose, tool, permission in (
        (navigator, "wipe", "disabled"),
        (navigator, "send", "require_approval"),
        (other, "read", "disabled"),
    ):
        ToolPermission.objects.create(
            navigator=whose, instance=instance, tool=tool, permission=permission
        )

    [access] = reach(navigator, jane)

    assert access.permissions == {
        "wipe": Permission.DISABLED,
        "send": Permission.REQUIRE_APPROVAL,
    }


def test_the_number_of_queries_does_not_grow(
    navigator: Navigator, jane: EndUser, django_assert_num_queries: Any
) -> None:
    for number in range(6):
        instance = connect(navigator, f"crm-{number}", "bearer", level="user")
        store_credential(instance=instance, end_user=jane, value=VALUE)
        ToolPermission.objects.create(
            navigator=navigator, instance=instance, tool="wipe", permission="disabled"
        )

    with django_assert_num_queries(3):
        assert len(reach(navigator, jane)) == 6


def test_the_catalogue_key_changes_with_server_and_credential_alone(
    navigator: Navigator, jane: EndUser
) -> None:
    john = EndUserFactory(project=navigator.project)
    instance = connect(navigator, "crm", "bearer", level="user")
    store_credential(instance=instance, end_user=jane, value=VALUE)
    store_credential(instance=instance, end_user=john, value=VALUE)

    first = reach(navigator, jane)[0].catalogue_key
    assert reach(navigator, jane)[0].catalogue_key == first
    assert reach(navigator, john)[0].catalogue_key != first
    store_credential(instance=instance, end_user=jane, value="another-value")
    second = reach(navigator, jane)[0].catalogue_key
    assert second != first
    Server.objects.update(url="https://elsewhere.example/mcp")
    assert reach(navigator, jane)[0].catalogue_key not in (first, second)


def test_the_same_value_again_changes_nothing_and_another_replaces_it(
    navigator: Navigator, jane: EndUser
) -> None:
    instance = connect(navigator, "crm", "bearer", level="user")
    row = store_credential(instance=instance, end_user=jane, value=VALUE)

    again = store_credential(instance=instance, end_user=jane, value=VALUE)
    assert (again.pk, bytes(again.sealed)) == (row.pk, bytes(row.sealed))
    store_credential(instance=instance, end_user=jane, value="another-value")

    [kept] = Credential.objects.all()
    assert kept.pk == row.pk
    assert value_of(kept) == "another-value"


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_eight_that_store_at_once_leave_one_value_that_opens(
    navigator: Navigator, jane: EndUser
) -> None:
    instance = connect(navigator, "crm", "bearer", level="user")
    start = threading.Barrier(8)

    def store(number: int) -> None:
        try:
            start.wait(timeout=30)
            store_credential(instance=instance, end_user=jane, value=f"opensesame-{number}")
        finally:
            connection.close()

    threads = [threading.Thread(target=store, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    [kept] = Credential.objects.all()
    assert value_of(kept) in {f"opensesame-{number}" for number in range(8)}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("seven77", "The value is too short: at least 8 characters."),
        ("x" * 4097, "The value is too long: at most 4096 characters."),
        ("secret\nX-Admin: 1", "The value must not hold control characters or line breaks."),
        ("secret\x00secret", "The value must not hold control characters or line breaks."),
        ("secret\ud800secret", "The value must not hold control characters or line breaks."),
        ("secretsecret\n", "The value must not begin or end with a space or a line break."),
        (" secretsecret", "The value must not begin or end with a space or a line break."),
        ("geheimnis-ü", "The value goes into a header and must be plain ASCII."),
    ],
)
def test_a_value_that_cannot_be_sent_is_refused_when_saved(
    navigator: Navigator, jane: EndUser, value: str, sentence: str
) -> None:
    instance = connect(navigator, "crm", "bearer", level="user")

    with pytest.raises(CredentialRefused) as refused:
        store_credential(instance=instance, end_user=jane, value=value)

    assert str(refused.value) == sentence
    assert not Credential.objects.exists()


def test_a_credential_is_kept_only_for_whom_the_server_takes_it(
    navigator: Navigator, jane: EndUser
) -> None:
    personal = connect(navigator, "personal", "bearer", level="user")
    common = connect(navigator, "common", "bearer")
    open_to_all = connect(navigator, "open")
    stranger = EndUserFactory()
    for instance, user in (
        (personal, None),
        (common, jane),
        (open_to_all, None),
        (personal, stranger),
    ):
        with pytest.raises(CredentialRefused):
            store_credential(instance=instance, end_user=user, value=VALUE)
    assert not Credential.objects.exists()
