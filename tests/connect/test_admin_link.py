"""*Copy a link for this user*: a POST of staff with both permissions, shown once, written down."""

from __future__ import annotations

import re
from typing import Any

import pytest

from caylex_project.accounts.models import AuditEntry
from caylex_project.integrations.models import AuthLink, Credential, ServerInstance
from tasks_app.models import AgentTask
from tests.accounts.test_admin import Browser, text_of
from tests.admin.test_bulk_actions import change_page, staff
from tests.api.test_poll import make_task
from tests.connect.test_page import PUBLIC
from tests.support.accounts import Account
from tests.support.factories import ServerInstanceFactory

pytestmark = pytest.mark.django_db
BUTTON = "Copy a link for this user"
BOTH = ("view_agenttask", "change_agenttask", "view_payload")


@pytest.fixture(autouse=True)
def _public_address(settings: Any) -> None:
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"caylex_public_url": PUBLIC})


@pytest.fixture
def instance(acme: Account) -> ServerInstance:
    made: ServerInstance = ServerInstanceFactory(
        project=acme.project,
        server__tenant=acme.tenant,
        server__name="crm",
        server__auth_kind="bearer",
        auth_level="user",
    )
    return made


@pytest.fixture
def task(acme: Account, instance: ServerInstance) -> AgentTask:
    return make_task(acme, authentication_needed=["crm"])


def link_page(task: AgentTask) -> str:
    return change_page(task).replace("/change/", "/link/")


def test_the_link_is_shown_once_bound_to_the_user_and_connects(
    task: AgentTask, instance: ServerInstance
) -> None:
    client = staff("olga", *BOTH)
    assert BUTTON in client.get(change_page(task), secure=True).content.decode()
    answer = client.post(link_page(task), secure=True)
    found = re.search(rf"{PUBLIC}(/connect/[\w-]{{43}})", answer.content.decode())
    assert found is not None
    link = AuthLink.objects.get()
    assert (link.email, link.created_by) == (task.end_user.email, "olga")
    token = found[1].rpartition("/")[2]
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action) == ("olga", "make a link to connect servers")
    assert entry.details == {"link": str(link.pk), "servers": ["crm"]}
    assert token not in str(list(AuthLink.objects.values())) + str(entry.details)
    assert "no-store" in answer["Cache-Control"]
    assert token not in client.get(change_page(task), secure=True).content.decode()

    browser = Browser()
    page = browser.get(found[1])["Location"]
    value = {"value": "a-value-of-length"}
    assert browser.post(f"{page}{instance.pk}/value", value).status_code == 303
    assert Credential.objects.get().end_user == task.end_user


@pytest.mark.parametrize("lacks", ["change_agenttask", "view_payload"])
def test_staff_with_one_of_the_permissions_get_none(task: AgentTask, lacks: str) -> None:
    client = staff("vera", *(each for each in BOTH if each != lacks))
    assert BUTTON not in client.get(change_page(task), secure=True).content.decode()
    assert client.post(link_page(task), secure=True).status_code == 403
    assert not AuthLink.objects.exists()


def test_a_get_makes_nothing_and_neither_does_a_task_that_lacks_nothing(
    acme: Account, task: AgentTask
) -> None:
    client = staff("olga", *BOTH)
    assert client.get(link_page(task), secure=True).status_code == 403
    other = make_task(acme)
    assert BUTTON not in client.get(change_page(other), secure=True).content.decode()
    assert client.post(link_page(other), secure=True).status_code == 403
    ServerInstance.objects.update(auth_level="project")
    assert client.post(link_page(task), secure=True).status_code == 403
    assert not AuthLink.objects.exists()


def test_without_the_service_s_address_staff_are_told_what_is_missing(
    task: AgentTask, settings: Any
) -> None:
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"caylex_public_url": ""})
    client = staff("olga", *BOTH)
    answer = client.post(link_page(task), follow=True, secure=True)
    assert "No link was made. The operator has to set CAYLEX_PUBLIC_URL first." in text_of(answer)
    assert not AuthLink.objects.exists()
