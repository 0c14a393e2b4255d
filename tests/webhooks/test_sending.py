"""Messages over real sockets, read as a receiver reads them: with the standardwebhooks package."""

from __future__ import annotations

import asyncio
import datetime
import json
import uuid
from typing import Any

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from tasks_app.api.openapi.webhooks import EndedTask, WebhookMessage
from tasks_app.models import WebhookDelivery
from tasks_app.states import DeliveryState
from tasks_app.webhooks import sender
from tasks_app.webhooks.deliveries import LEASE, WAITS, claim_messages
from tasks_app.webhooks.payload import MAX_BODY, body_of
from tasks_app.webhooks.secrets import make_secret, rotate_secret
from tasks_app.worker.database import Database
from tests.support.webhook_rows import a_delivery, an_endpoint
from tests.webhooks.conftest import OK, Clocked, Got, Receiver, answer

HOUR = 3600.0


def a_signed_delivery(url: str, **values: Any) -> tuple[WebhookDelivery, str]:
    delivery = a_delivery(url, **values)
    return delivery, make_secret(project=delivery.task.project)


async def fresh(database: Database, delivery: WebhookDelivery) -> WebhookDelivery:
    return await database.run(WebhookDelivery.objects.get, pk=delivery.pk)


def verified(got: Got, secret: str) -> Any:
    return Webhook(secret).verify(got.body, got.headers)


async def test_a_receiver_verifies_the_message_and_reads_how_the_task_ended(
    database: Database, receiver: Receiver, clocked: Clocked
) -> None:
    delivery, secret = await database.run(a_signed_delivery, receiver.url, metadata={"order": "7"})
    assert await clocked.round(later=1) == 1
    [got] = receiver.got
    message = verified(got, secret)
    task = delivery.task
    assert message == {
        "type": "agent_task.completed",
        "timestamp": delivery.created_at.replace(microsecond=0).isoformat(),
        "data": {
            "task_id": str(task.id),
            "session_id": str(task.session_id),
            "status": "COMPLETED",
            "stop_reason": "final_report",
            "report": "Done.",
            "report_truncated": False,
            "error": None,
            "user_email": task.end_user.email,
            "metadata": {"order": "7"},
            "created_at": delivery.created_at.replace(microsecond=0).isoformat(),
            "started_at": delivery.created_at.replace(microsecond=0).isoformat(),
            "completed_at": delivery.created_at.replace(microsecond=0).isoformat(),
        },
    }
    described = WebhookMessage.model_validate_json(got.body)
    assert described.model_dump(mode="json", exclude_unset=True) == message
    assert set(WebhookMessage.model_fields) == set(message)
    assert set(EndedTask.model_fields) == set(message["data"])
    assert got.path == "/hook"
    assert got.headers["webhook-id"] == str(delivery.pk)
    assert got.headers["content-type"] == "application/json"
    row = await fresh(database, delivery)
    assert (row.state, row.attempts, row.last_status) == (DeliveryState.DELIVERED, 1, 204)
    assert row.delivered_at == clocked.now
    assert await clocked.round(later=100_000) == 0
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    "target",
    [
        "/hook;tenant=7?a=1",
        "/a;b=1/c;d;e=2?x;y=1;z",
        "/;",
        "/a/../b/./c//d/",
        "/%7Euser/%2e%2E/%2F?q=%20+%3B;'()*!",
        "/a?",
        "/a?b?c=/d",
        '/[x]{y}|z^`<>"',
        "//double",
        "/@:8080/",
    ],
)
async def test_path_and_query_arrive_byte_for_byte(
    target: str, database: Database, receiver: Receiver, clocked: Clocked
) -> None:
    base = f"http://127.0.0.1:{receiver.port}"
    await database.run(a_signed_delivery, f"{base}{target}")
    assert await clocked.round(later=1) == 1
    [got] = receiver.got
    assert got.path == target
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"


async def test_an_address_without_a_path_is_asked_for_its_root(
    database: Database, receiver: Receiver, clocked: Clocked
) -> None:
    await database.run(a_signed_delivery, f"HTTP://127.0.0.1:0{receiver.port}?a=1")
    assert await clocked.round(later=1) == 1
    assert [got.path for got in receiver.got] == ["/?a=1"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"webhook-id": str(uuid.uuid4())},
        {"webhook-timestamp": "1"},
        {"webhook-timestamp": str(int(datetime.datetime.now(datetime.UTC).timestamp()) + 7)},
        {"webhook-signature": "v1,AAAA"},
    ],
)
async def test_a_message_that_was_tampered_with_does_not_verify(
    wrong: dict[str, str], database: Database, receiver: Receiver, clocked: Clocked
) -> None:
    _, secret = await database.run(a_signed_delivery, receiver.url)
    await clocked.round(later=1)
    [got] = receiver.got
    assert verified(got, secret)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(got.body, {**got.headers, **wrong})
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(got.body.replace(b"Done.", b"Gone."), got.headers)


async def test_an_address_that_fails_for_an_hour_gets_every_message_signed_with_its_one_id(
    database: Database, receiver: Receiver, clocked: Clocked
) -> None:
    began = clocked.now - datetime.timedelta(hours=3)
    first, secret = await database.run(a_signed_delivery, receiver.url, at=began)
    second, other = await database.run(a_signed_delivery, receiver.url, at=began)
    end, clocked.now = clocked.now, began
    receiver.answers = [answer(500)]
    while clocked.now < end:
        if clocked.now - began >= datetime.timedelta(seconds=HOUR):
            receiver.answers = [OK]
        await clocked.round(later=60)
    for delivery, signed_with in ((first, secret), (second, other)):
        row = await fresh(database, delivery)
        assert (row.state, row.attempts) == (DeliveryState.DELIVERED, 6)
        mine = [each for each in receiver.got if each.headers["webhook-id"] == str(row.pk)]
        assert len(mine) == 6
        assert len({each.body for each in mine}) == 1
        for each in mine:
            moment = datetime.datetime.fromtimestamp(
                int(each.headers["webhook-timestamp"]), datetime.UTC
            )
            expected = Webhook(signed_with).sign(str(row.pk), moment, each.body.decode())
            assert each.headers["webhook-signature"] == expected
        assert len({each.headers["webhook-timestamp"] for each in mine}) == 6
    assert len(receiver.got) == 12


async def test_a_day_of_failures_ends_the_tries(
    database: Database, receiver: Receiver, clocked: Clocked
) -> None:
    delivery, _ = await database.run(a_signed_delivery, receiver.url)
    receiver.answers = [answer(500)]
    for wait in (1, *WAITS):
        assert await clocked.round(later=wait * 1.11) == 1
    row = await fresh(database, delivery)
    assert (row.state, row.attempts) == (DeliveryState.FAILED, len(WAITS) + 1)
    assert (row.last_status, row.last_error) == (500, "The address answered 500.")
    assert 20 * HOUR < sum(WAITS) < 25 * HOUR
    assert await clocked.round(later=100_000) == 0


@pytest.mark.parametrize("path", ["/büro", "/a b"])
async def test_an_address_that_was_taken_and_cannot_be_asked_is_given_up_like_any_other(
    path: str, database: Database, receiver: Receiver, clocked: Clocked
) -> None:
    delivery, _ = await database.run(a_signed_delivery, receiver.url)
    await database.run(WebhookDelivery.objects.update, url=f"{receiver.url}{path}")
    for wait in (1, *WAITS):
        assert await clocked.round(later=wait * 1.11) == 1
    row = await fresh(database, delivery)
    assert (row.state, row.attempts) == (DeliveryState.FAILED, len(WAITS) + 1)
    assert row.last_error.endswith(".")


async def test_a_fault_of_ours_is_a_try_like_any_other(
    monkeypatch: pytest.MonkeyPatch, database: Database, receiver: Receiver, clocked: Clocked
) -> None:
    async def broken(**_: Any) -> None:
        raise TypeError("secret")

    monkeypatch.setattr(sender, "post", broken)
    delivery, _ = await database.run(a_signed_delivery, receiver.url)
    await clocked.round(later=1)
    row = await fresh(database, delivery)
    assert (row.state, row.attempts) == (DeliveryState.WAITING, 1)
    assert row.last_error == sender.BROKE


async def test_410_disables_the_endpoint_and_what_else_waits_for_it_is_not_sent(
    database: Database, receiver: Receiver, clocked: Clocked
) -> None:
    first = await database.run(a_delivery, receiver.url)
    second = await database.run(a_delivery, receiver.url)
    endpoint = await database.run(an_endpoint, first.task, receiver.url)
    await database.run(WebhookDelivery.objects.update, endpoint=endpoint)
    await database.run(
        WebhookDelivery.objects.filter(pk=second.pk).update,
        next_attempt_at=clocked.now + datetime.timedelta(seconds=30),
    )
    receiver.answers = [answer(410)]
    await clocked.round(later=1)
    await clocked.round(later=60)
    assert len(receiver.got) == 1
    await database.run(endpoint.refresh_from_db)
    assert endpoint.disabled_at is not None
    assert endpoint.disabled_reason == "The address answered 410: it is gone."
    rows = [await fresh(database, each) for each in (first, second)]
    assert [(row.state, row.last_status, row.attempts) for row in rows] == [
        (DeliveryState.FAILED, 410, 1),
        (DeliveryState.FAILED, None, 0),
    ]


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        (answer(429, "retry-after: 900"), 900, 900),
        (answer(503, "retry-after: 900"), 900, 900),
        (answer(429, "retry-after: 99999999999999"), 86_400, 86_400),
        (answer(429, "retry-after: Wed, 21 Oct 2015 07:28:00 GMT"), 4, 6),
        (answer(429, "retry-after: Fri, 31 Dec 9999 23:59:59 -2300"), 4, 6),
        (answer(429, "retry-after: soon"), 4, 6),
        (answer(429), 4, 6),
        (answer(500, "retry-after: 900"), 4, 6),
        (answer(302, "location: http://127.0.0.1:1/"), 4, 6),
        (b"SSH-2.0-OpenSSH_9.6\r\n", 4, 6),
        (b"", 4, 6),
    ],
)
async def test_what_was_not_taken_is_due_again_when_the_address_wants_it(
    said: bytes,
    least: float,
    most: float,
    database: Database,
    receiver: Receiver,
    clocked: Clocked,
) -> None:
    delivery, _ = await database.run(a_signed_delivery, receiver.url)
    receiver.answers = [said]
    await clocked.round(later=1)
    assert len(receiver.got) == 1, "a redirect was followed, or a broken answer asked for again"
    row = await fresh(database, delivery)
    assert (row.state, row.attempts) == (DeliveryState.WAITING, 1)
    assert least <= (row.next_attempt_at - clocked.now).total_seconds() <= most
    assert row.last_error


async def test_of_a_gigabyte_of_answer_nothing_is_read(
    database: Database, receiver: Receiver, clocked: Clocked
) -> None:
    written = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            written += 65_536

    delivery, _ = await database.run(a_signed_delivery, receiver.url)
    receiver.answers = [endless]
    await clocked.round(later=1)
    assert (await fresh(database, delivery)).state == DeliveryState.DELIVERED
    assert written < 20_000_000


async def test_an_answer_that_drips_ends_at_the_deadline(
    database: Database, receiver: Receiver, clocked: Clocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks_app.webhooks.client.DEADLINE", 0.5)

    async def drip(writer: asyncio.StreamWriter) -> None:
        for char in b"HTTP/1.1 200 OK\r\n" + b"x" * 100:
            writer.write(bytes([char]))
            await writer.drain()
            await asyncio.sleep(0.05)

    delivery, _ = await database.run(a_signed_delivery, receiver.url)
    receiver.answers = [drip]
    await clocked.round(later=1)
    row = await fresh(database, delivery)
    assert (row.state, row.last_error) == (DeliveryState.WAITING, "No answer within 0.5 seconds.")


async def test_a_sender_that_is_killed_before_it_sends_costs_a_delay_and_no_message(
    database: Database, receiver: Receiver, clocked: Clocked
) -> None:
    delivery, _ = await database.run(a_signed_delivery, receiver.url)
    clocked.now += datetime.timedelta(seconds=1)
    claimed = await database.run(claim_messages, under_way=(), now=clocked.now)
    [message] = claimed.messages
    assert message.id == delivery.pk
    assert await clocked.round() == 0, "two senders have one message in hand"
    assert await clocked.round(later=LEASE.total_seconds()) == 1
    [got] = receiver.got
    assert got.headers["webhook-id"] == str(delivery.pk)
    assert (await fresh(database, delivery)).attempts == 1


async def test_during_a_rotation_the_old_and_the_new_secret_verify_and_then_the_new_alone(
    database: Database, receiver: Receiver, clocked: Clocked
) -> None:
    delivery, old = await database.run(a_signed_delivery, receiver.url)
    project = delivery.task.project
    day_ago = clocked.now - datetime.timedelta(hours=24)
    new = await database.run(rotate_secret, project=project, now=day_ago + HOUR_LONG)
    await clocked.round(later=1)
    [both] = receiver.got
    assert verified(both, old) == verified(both, new)
    assert len(both.headers["webhook-signature"].split()) == 2

    await database.run(
        WebhookDelivery.objects.update, state=DeliveryState.WAITING, next_attempt_at=clocked.now
    )
    clocked.now += HOUR_LONG
    await clocked.round()
    last = receiver.got[-1]
    assert len(last.headers["webhook-signature"].split()) == 1
    moment = datetime.datetime.fromtimestamp(int(last.headers["webhook-timestamp"]), datetime.UTC)
    signed = Webhook(new).sign(str(delivery.pk), moment, last.body.decode())
    assert last.headers["webhook-signature"] == signed


HOUR_LONG = datetime.timedelta(hours=1)


@pytest.mark.parametrize("char", ["x", "é", "\U0001f600", '"', "\x01"])
@pytest.mark.django_db(transaction=True)
def test_a_long_report_is_cut_so_that_the_body_stays_small(char: str) -> None:
    delivery = a_delivery("https://example.com/hook", report=char * 50_000)
    body = body_of(delivery)
    assert MAX_BODY - 20 < len(body) < MAX_BODY
    data = json.loads(body)["data"]
    assert data["report_truncated"] is True
    assert set(data["report"]) == {char}
    assert delivery.data["report"].startswith(data["report"])


@pytest.mark.django_db(transaction=True)
def test_metadata_that_fill_a_body_alone_are_left_out() -> None:
    delivery = a_delivery(
        "https://example.com/hook", metadata={str(n): "\U0001f600" * 500 for n in range(16)}
    )
    body = body_of(delivery)
    data = json.loads(body)["data"]
    assert len(body) < MAX_BODY
    assert (data["metadata"], data["report"]) == ({}, "Done.")
