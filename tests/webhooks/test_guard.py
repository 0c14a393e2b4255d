"""Where a message must not go, what must not hold up others, and what no log may say."""

from __future__ import annotations

import asyncio
import datetime
import logging
import socket
import uuid
from typing import Any

import pytest
from django.db import connection

from agent_runtime.net.address_guard import AddressGuard
from tasks_app.models import WebhookDelivery
from tasks_app.states import DeliveryState
from tasks_app.webhooks.client import post
from tasks_app.webhooks.deliveries import OutgoingMessage, claim_messages
from tasks_app.webhooks.fair import MAX_AN_ORIGIN, Lane
from tasks_app.webhooks.secrets import live_secrets, make_secret
from tasks_app.worker.database import Database
from tests.support.webhook_rows import a_delivery, more_deliveries
from tests.webhooks.conftest import LOOPBACK, Clocked, Receiver, answer, listening

NOW = datetime.datetime.now(datetime.UTC)


def a_message(url: str) -> OutgoingMessage:
    return OutgoingMessage(
        id=WebhookDelivery().pk,
        lane=Lane(uuid.uuid4(), url),
        url=url,
        body=b"{}",
        attempts=0,
        secrets=("whsec_AAAA",),
    )


@pytest.mark.parametrize("port", [22, 25, 53, 81, 1023, 5432, 6379])
async def test_ports_of_other_services_get_no_connection(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections: list[Any] = []
    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", connections.append)
    url = f"http://127.0.0.1:{port}/"
    outcome = await post(message=a_message(url), guard=LOOPBACK, now=NOW)
    assert "port" in outcome.error.lower()
    assert (outcome.status, connections) == (None, [])


@pytest.mark.parametrize("answers", [["127.0.0.1"], ["93.184.215.14", "127.0.0.1"], ["::1"]])
async def test_a_name_that_turned_to_a_private_address_gets_no_byte(
    answers: list[str], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def rebound(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in answers]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebound)
    url = f"http://rebinding.example:{receiver.port}/"
    outcome = await post(message=a_message(url), guard=AddressGuard(), now=NOW)
    assert outcome.status is None
    assert "not public" in outcome.error
    assert receiver.got == []


async def test_a_proxy_of_the_environment_is_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    outcome = await post(message=a_message(receiver.url), guard=LOOPBACK, now=NOW)
    assert outcome.delivered
    assert len(receiver.got) == 1


async def test_a_slow_address_does_not_hold_up_another_ones_message(
    database: Database, receiver: Receiver, clocked: Clocked
) -> None:
    released = asyncio.Event()

    async def silent(_: asyncio.StreamWriter) -> None:
        await released.wait()

    async with listening(Receiver(answers=[silent])) as slow:
        quick = await database.run(a_delivery, receiver.url, at=clocked.now)
        slow_ones = [f"{slow.url}?{index}" for index in range(10)]
        earlier = clocked.now - datetime.timedelta(seconds=9)
        await database.run(more_deliveries, quick, slow_ones, next_attempt_at=earlier)
        clocked.now += datetime.timedelta(seconds=1)
        for _ in range(3):
            await clocked.sender.claim_and_send()
        async with asyncio.timeout(10):
            while (await database.run(stored, quick)).state != DeliveryState.DELIVERED:
                await asyncio.sleep(0.02)
        assert len(slow.got) == MAX_AN_ORIGIN
        await clocked.sender.close()
        released.set()


def stored(delivery: WebhookDelivery) -> WebhookDelivery:
    return WebhookDelivery.objects.get(pk=delivery.pk)


@pytest.mark.postgresql
async def test_two_senders_never_have_one_message_in_hand(database: Database) -> None:
    for index in range(40):
        await database.run(a_delivery, f"https://host-{index}.example/")
    now = datetime.datetime.now(datetime.UTC)
    claims = await asyncio.gather(
        *(database.run(claim_messages, under_way=(), now=now) for _ in range(8))
    )
    ids = [message.id for claimed in claims for message in claimed.messages]
    assert len(ids) == len(set(ids))
    assert ids


async def test_no_row_and_no_log_line_holds_a_secret(
    database: Database, receiver: Receiver, clocked: Clocked, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    delivery = await database.run(a_delivery, receiver.url)
    secret = await database.run(make_secret, project=delivery.task.project)
    receiver.answers = [answer(500)]
    await clocked.round(later=1)
    kept = await database.run(every_cell)
    for part in (secret, secret.removeprefix("whsec_")):
        assert part not in caplog.text
        assert part not in kept
    later = clocked.now + datetime.timedelta(seconds=60)
    claimed = await database.run(claim_messages, under_way=(), now=later)
    [message] = claimed.messages
    assert message.secrets == (secret,)
    assert secret not in repr(message)


def every_cell() -> str:
    cells = []
    with connection.cursor() as cursor:
        for table in ("tasks_app_webhooksecret", "tasks_app_webhookdelivery"):
            cursor.execute(f"SELECT * FROM {table}")
            for row in cursor.fetchall():
                cells += [
                    bytes(each).decode("latin-1")
                    if isinstance(each, bytes | memoryview)
                    else str(each)
                    for each in row
                ]
    return "\n".join(cells)


async def test_where_no_secret_opens_nothing_is_sent(
    database: Database, receiver: Receiver, clocked: Clocked
) -> None:
    delivery = await database.run(a_delivery, receiver.url)
    project = delivery.task.project
    await database.run(make_secret, project=project)
    await database.run(project.webhook_secrets.update, sealed=b"\x01" + b"x" * 80)
    await clocked.round(later=1)
    assert receiver.got == []
    row = await database.run(WebhookDelivery.objects.get, pk=delivery.pk)
    assert (row.state, row.attempts) == (DeliveryState.WAITING, 1)
    assert "No signing secret opens" in row.last_error


@pytest.mark.django_db
def test_a_secret_is_made_on_first_need_and_then_kept() -> None:
    project = a_delivery("https://example.com/").task.project
    [made] = live_secrets(project=project, now=NOW)
    assert made.startswith("whsec_")
    assert live_secrets(project=project, now=NOW) == (made,)
