"""Runs that lack what their user has to connect: they wait without a slot, or say so."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection, transaction
from django.utils import timezone

from agent_runtime.net.address_guard import AddressGuard
from agent_runtime.testing import ScriptedModel, text_response, tool_call_response
from caylex_project.accounts.models import EndUser
from caylex_project.integrations.credentials import store_credential
from caylex_project.integrations.models import AuthLink, ServerInstance
from demo.tool_server import Notes, make_app
from tasks_app.api.openapi.webhooks import ConnectionMessage
from tasks_app.models import AgentTask, Event, Step, WebhookDelivery, Worker
from tasks_app.operations.connections import lock_people, wake_waiting
from tasks_app.states import Status
from tasks_app.webhooks.payload import body_of
from tasks_app.worker.claiming.claim import claim_due
from tasks_app.worker.journal import connection_requests
from tests.accounts.test_admin import Browser
from tests.connect.test_page import PUBLIC
from tests.engine.test_engine import StartEngine, eventually, status_of
from tests.integrations.test_server_pages import SECRET, beside
from tests.support.accounts import Account, Caller
from tests.support.engine_rows import a_worker, copies
from tests.support.factories import ServerInstanceFactory
from tests.support.tool_servers import serving

pytestmark = pytest.mark.django_db(transaction=True)
JANE = "jane@example.com"
HOME = AddressGuard.of(networks=("127.0.0.0/8",))
WAITS = f"Waiting for {JANE} to connect tickets."


@pytest.fixture
def tickets() -> Iterator[str]:
    with beside(serving(make_app(tokens={SECRET: "jane"}, notes=Notes(path=None)))) as url:
        yield url


@pytest.fixture(autouse=True)
def _public_address(settings: Any) -> None:
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"caylex_public_url": PUBLIC})


@pytest.fixture
def instance(acme: Account, tickets: str) -> ServerInstance:
    made: ServerInstance = ServerInstanceFactory(
        project=acme.project,
        server__tenant=acme.tenant,
        server__name="tickets",
        server__url=tickets,
        server__auth_kind="bearer",
        auth_level="user",
    )
    return made


def model() -> ScriptedModel:
    return ScriptedModel(
        (tool_call_response(("tickets__search_tickets", {})), text_response("Counted."))
    )


def submitted(caller: Caller, **fields: Any) -> AgentTask:
    answer = caller.submit(**{"on_authentication": "wait", **fields})
    assert answer.status_code == 202, answer.content
    return AgentTask.objects.get(pk=answer.json()["task_id"])


def waits(task: AgentTask) -> bool:
    task.refresh_from_db()
    return task.awaits_connection


def kinds(task: AgentTask) -> list[str]:
    return [each.kind for each in Event.objects.filter(task=task).order_by("sequence")]


def connected_by_link(link: str, instance: ServerInstance, value: str = SECRET) -> None:
    """Open the link in a browser, and type the key."""
    browser = Browser()
    page = browser.get(urlsplit(link).path)["Location"]
    assert browser.post(f"{page}{instance.pk}/value", {"value": value}).status_code == 303


def test_a_task_waits_for_its_user_and_completes_as_that_user_once_connected(
    backend: Caller,
    instance: ServerInstance,
    start: StartEngine,
) -> None:
    task = submitted(backend)
    scripted = model()
    start(scripted, guard=HOME)
    eventually(lambda: waits(task), "the task waits")

    body = backend.poll(task.id).json()
    (needed,) = body["authentication_needed"]
    assert needed["server"] == "tickets"
    assert needed["link"].startswith(f"{PUBLIC}/connect/")
    assert backend.poll(task.id).json()["authentication_needed"] == [needed]
    assert (body["status"], body["progress"]["current"]) == ("PENDING", WAITS)
    assert (body["started_at"], body["attempt"]) == (None, 0)
    end = datetime.datetime.fromisoformat(body["next_attempt_at"])
    assert datetime.timedelta(days=6.9) < end - timezone.now() <= datetime.timedelta(days=7)
    assert kinds(task) == ["started", "authentication_needed", "waiting_for_connection"]
    assert Worker.objects.get().held == 0
    assert scripted.requests == []

    connected_by_link(needed["link"], instance)
    eventually(lambda: status_of(task) == Status.COMPLETED, "the task's end")
    assert task.tool_calls_made == 1
    assert kinds(task)[3:] == ["connected", "resumed", "completed"]
    assert task.authentication_needed == []
    assert "must connect" not in str(Step.objects.get(task=task, index=1).request["system"])
    token = urlsplit(needed["link"]).path.rpartition("/")[2]
    assert token not in str(list(Step.objects.values())) + str(list(Event.objects.values()))
    assert token not in str(list(AuthLink.objects.values())) + str(scripted.requests)


def test_without_the_option_the_task_goes_on_and_names_a_link(
    backend: Caller,
    instance: ServerInstance,
    start: StartEngine,
) -> None:
    task = submitted(backend, on_authentication=None)
    start(ScriptedModel((text_response("There was nothing to count."),)), guard=HOME)
    eventually(lambda: status_of(task) == Status.COMPLETED, "the task's end")
    (needed,) = backend.poll(task.id).json()["authentication_needed"]
    assert needed["link"].startswith(f"{PUBLIC}/connect/")
    assert kinds(task) == ["started", "authentication_needed", "completed"]
    system = str(Step.objects.get(task=task, index=1).request["system"])
    assert f"{JANE} must connect tickets first." in system
    assert "/connect/" not in system
    assert (
        "/connect/"
        not in backend.client.get(
            "/api/v1/agent-task", headers=backend.account.bearer
        ).content.decode()
    )


def test_a_link_ends_after_a_day_and_the_poll_says_null(
    backend: Caller,
    instance: ServerInstance,
    start: StartEngine,
) -> None:
    task = submitted(backend)
    start(model(), guard=HOME)
    eventually(lambda: waits(task), "the task waits")
    AuthLink.objects.update(expires_at=timezone.now())
    assert backend.poll(task.id).json()["authentication_needed"] == [
        {"server": "tickets", "link": None}
    ]


def test_a_server_of_the_project_is_not_waited_for(
    backend: Caller,
    instance: ServerInstance,
    start: StartEngine,
) -> None:
    ServerInstance.objects.update(auth_level="project")
    task = submitted(backend)
    start(ScriptedModel((text_response("Done."),)), guard=HOME)
    eventually(lambda: status_of(task) == Status.COMPLETED, "the task's end")
    assert backend.poll(task.id).json()["authentication_needed"] == [
        {"server": "tickets", "link": None}
    ]
    assert not AuthLink.objects.exists()


def test_a_wait_that_has_ended_goes_on_without_the_server(
    backend: Caller,
    instance: ServerInstance,
    start: StartEngine,
) -> None:
    task = submitted(backend)
    start(ScriptedModel((text_response("Done without."),)), guard=HOME)
    eventually(lambda: waits(task), "the task waits")
    now = timezone.now()
    AgentTask.objects.update(next_attempt_at=now, connection_wait_until=now)
    eventually(lambda: status_of(task) == Status.COMPLETED, "the task's end")
    assert task.authentication_needed == ["tickets"]
    assert task.started_at is not None
    assert task.started_at >= now
    assert kinds(task)[-2:] == ["resumed", "completed"]


def test_a_wrong_key_waits_again_and_does_not_go_round(
    backend: Caller,
    instance: ServerInstance,
    start: StartEngine,
) -> None:
    task = submitted(backend)
    start(model(), guard=HOME)
    eventually(lambda: waits(task), "the task waits")
    until = task.connection_wait_until
    for value in ("a-wrong-key", SECRET):
        link = backend.poll(task.id).json()["authentication_needed"][0]["link"]
        connected_by_link(link, instance, value=value)
        if value != SECRET:
            eventually(lambda: waits(task) and "connected" in kinds(task), "it waits again")
    eventually(lambda: status_of(task) == Status.COMPLETED, "the task's end")
    assert task.connection_wait_until == until
    assert kinds(task).count("waiting_for_connection") == 2


def test_a_cancelled_wait_ends_at_once_and_a_retry_waits_afresh(
    backend: Caller,
    instance: ServerInstance,
    start: StartEngine,
) -> None:
    task = submitted(backend)
    start(model(), guard=HOME)
    eventually(lambda: waits(task), "the task waits")
    path = f"/api/v1/agent-task/{task.pk}"
    assert backend.post("", path=f"{path}/cancel").status_code == 202
    assert status_of(task) == Status.INCOMPLETE
    assert backend.post("", path=f"{path}/retry").status_code == 202
    eventually(lambda: waits(task), "the second run waits")
    assert AuthLink.objects.count() == 2


def test_a_connection_that_is_stored_while_the_wait_is_written_is_not_overlooked(
    backend: Caller,
    instance: ServerInstance,
    start: StartEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The key is stored after the run looked, and before its wait is on disk."""
    task = submitted(backend)
    lock = lock_people

    def stored_first(people: Any) -> None:
        def store() -> None:
            try:
                with transaction.atomic():
                    person = EndUser.objects.get()
                    row = store_credential(instance=instance, end_user=person, value=SECRET)
                    wake_waiting(row, now=timezone.now())
            finally:
                connection.close()

        if connection.vendor == "postgresql":
            thread = threading.Thread(target=store)
            thread.start()
            thread.join()
        else:  # there is one writer: it came before
            person = EndUser.objects.get()
            store_credential(instance=instance, end_user=person, value=SECRET)
        monkeypatch.setattr(connection_requests, "lock_people", lock)
        lock(people)

    monkeypatch.setattr(connection_requests, "lock_people", stored_first)
    start(model(), guard=HOME)
    eventually(lambda: status_of(task) == Status.COMPLETED, "the task's end")
    assert "connected" in kinds(task)


def test_a_webhook_that_names_the_event_is_told_and_no_other(
    backend: Caller,
    instance: ServerInstance,
    start: StartEngine,
) -> None:
    named = {"url": "https://8.8.8.8/a", "events": ["agent_task.authentication_needed"]}
    first = submitted(backend, webhook=named)
    second = submitted(backend, webhook={"url": "https://8.8.8.8/b"})
    start(model(), guard=HOME)
    eventually(lambda: waits(first) and waits(second), "both wait")
    (delivery,) = WebhookDelivery.objects.all()
    assert (delivery.task_id, delivery.event) == (first.pk, "agent_task.authentication_needed")
    described = ConnectionMessage.model_validate_json(body_of(delivery))
    assert described.data.authentication_needed == ["tickets"]
    assert "/connect/" not in str(delivery.data)


def waiting_row(account: Account, instance: ServerInstance, **values: Any) -> AgentTask:
    person, _ = EndUser.objects.get_or_create(project=account.project, email=JANE)
    until = timezone.now() + datetime.timedelta(days=7)
    made: AgentTask = AgentTask.objects.create(
        tenant=account.tenant,
        project=account.project,
        navigator=account.navigator,
        end_user=person,
        prompt="x",
        model="scripted",
        next_attempt_at=until,
        connection_wait_until=until,
        authentication_needed=["tickets"],
        created_at=timezone.now(),
        **values,
    )
    return made


def test_a_task_that_waits_counts_in_no_limit_of_waiting_tasks(
    backend: Caller,
    acme: Account,
    instance: ServerInstance,
) -> None:
    type(acme.tenant).objects.update(limits={"max_pending": 1})
    waiting_row(acme, instance)
    assert backend.submit().status_code == 202
    assert backend.submit().status_code == 429


def test_a_connection_wakes_the_tasks_of_its_user_and_server_alone(
    acme: Account,
    instance: ServerInstance,
) -> None:
    mine = waiting_row(acme, instance)
    other_server = waiting_row(acme, instance)
    AgentTask.objects.filter(pk=other_server.pk).update(authentication_needed=["crm"])
    other = waiting_row(acme, instance)
    joe = EndUser.objects.create(project=acme.project, email="joe@example.com")
    AgentTask.objects.filter(pk=other.pk).update(end_user=joe)
    with transaction.atomic():
        row = store_credential(instance=instance, end_user=mine.end_user, value=SECRET)
        wake_waiting(row, now=timezone.now())
    assert [waits(each) for each in (mine, other_server, other)] == [False, True, True]


def test_ten_thousand_tasks_that_wait_are_no_work_for_a_claim(
    acme: Account,
    instance: ServerInstance,
) -> None:
    copies(waiting_row(acme, instance), count=10_000)
    worker = a_worker()
    due = waiting_row(acme, instance)
    AgentTask.objects.filter(pk=due.pk).update(next_attempt_at=timezone.now())
    claims, _ = claim_due(worker_id=worker.pk, limit=16, after_tenant=worker.pk)
    assert [each.task_id for each in claims] == [due.pk]
