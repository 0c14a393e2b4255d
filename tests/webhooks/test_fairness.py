"""Receivers of one tenant that accept and never answer do not hold up another tenant's messages."""

from __future__ import annotations

import asyncio
import datetime
import socket
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import pytest
from django.utils import timezone

from tasks_app.models import WebhookDelivery
from tasks_app.states import DeliveryState
from tasks_app.webhooks import due
from tasks_app.webhooks.deliveries import claim_messages
from tasks_app.webhooks.fair import (
    KEPT_FREE,
    MAX_A_TENANT,
    MAX_AN_ORIGIN,
    MAX_CONCURRENT,
    Lane,
    Waiting,
    choose,
)
from tasks_app.webhooks.sender import Sender
from tasks_app.worker.database import Database
from tests.support.webhook_rows import a_delivery, more_deliveries
from tests.webhooks.conftest import LOOPBACK, Receiver

PATIENCE = 14.0  # seconds; a try at a dead receiver takes fifteen


@contextmanager
def dead_receivers(count: int) -> Iterator[list[str]]:
    """Listen at so many origins; connections are made by the kernel and never answered."""
    servers = [socket.create_server((f"127.0.1.{n + 1}", 0), backlog=16) for n in range(count)]
    try:
        yield [f"http://127.0.1.{n + 1}:{each.getsockname()[1]}/" for n, each in enumerate(servers)]
    finally:
        for each in servers:
            each.close()


@asynccontextmanager
async def sending(database: Database) -> AsyncIterator[None]:
    """Run a sender by the real clock, as a worker does."""
    sender = Sender(
        guard=LOOPBACK, run_unit=database.run, insist=database.run_with_retry, clock=timezone.now
    )
    draining = asyncio.Event()
    running = asyncio.create_task(sender.run(draining))
    try:
        yield
    finally:
        draining.set()
        await running
        await sender.close()


async def until_delivered(database: Database, delivery: WebhookDelivery) -> float:
    """Return the seconds until it is; give up before a try at a dead receiver ends."""
    began = time.monotonic()
    row = WebhookDelivery.objects.filter(pk=delivery.pk, state=DeliveryState.DELIVERED)
    async with asyncio.timeout(PATIENCE):
        while not await database.run(row.exists):
            await asyncio.sleep(0.02)
    return time.monotonic() - began


def tries_that_ended(*, besides: WebhookDelivery) -> int:
    return WebhookDelivery.objects.exclude(pk=besides.pk).filter(attempts__gt=0).count()


@pytest.mark.parametrize("tenants", [1, 4])
async def test_a_hundred_and_twenty_dead_receivers_delay_no_other_tenants_message(
    tenants: int, database: Database, receiver: Receiver
) -> None:
    with dead_receivers(120) as urls:
        for number in range(tenants):
            first = await database.run(a_delivery, urls[number])
            await database.run(more_deliveries, first, urls[number + tenants :: tenants])
        async with sending(database):
            await asyncio.sleep(1.5)  # the dead ones hold all the places that they get
            living = await database.run(a_delivery, receiver.url)
            seconds = await until_delivered(database, living)

            assert len(receiver.got) == 1
            assert await database.run(tries_that_ended, besides=living) == 0
    print(f"delivered after {seconds:.2f} s")


async def test_a_wave_of_second_tries_delays_no_other_tenants_second_try(
    database: Database, receiver: Receiver
) -> None:
    with dead_receivers(60) as urls:
        now = timezone.now()
        first = await database.run(a_delivery, urls[0], at=now - datetime.timedelta(hours=1))
        await database.run(more_deliveries, first, [*urls, *urls], attempts=3)
        living = await database.run(a_delivery, receiver.url)
        again = {"attempts": 3, "next_attempt_at": now}
        await database.run(WebhookDelivery.objects.filter(pk=living.pk).update, **again)
        async with sending(database):
            await until_delivered(database, living)

            beyond = WebhookDelivery.objects.exclude(pk=living.pk).filter(attempts__gt=3)
            assert not await database.run(beyond.exists)


def lanes(tenant: uuid.UUID, count: int) -> list[Lane]:
    return [Lane(tenant, f"https://{tenant}-{number}.example:443") for number in range(count)]


def waiting(lane: Sequence[Lane]) -> list[Waiting]:
    return [Waiting(id=uuid.uuid4(), lane=each) for each in lane]


def test_a_tenant_gets_its_share_and_no_more_however_much_waits() -> None:
    one, two = uuid.uuid4(), uuid.uuid4()
    of_one, of_two = waiting(lanes(one, 500)), waiting(lanes(two, 3))

    chosen = choose([*of_one, *of_two], under_way=())

    assert set(of_two) <= set(chosen)
    assert len(chosen) == MAX_A_TENANT + 3
    assert choose(of_one, under_way=lanes(one, MAX_A_TENANT)) == []


def test_the_last_places_are_for_tenants_with_nothing_under_way() -> None:
    busy = [uuid.uuid4() for _ in range((MAX_CONCURRENT - KEPT_FREE) // MAX_A_TENANT)]
    under_way = [lane for tenant in busy for lane in lanes(tenant, MAX_A_TENANT)]
    newcomers = [uuid.uuid4() for _ in range(KEPT_FREE + 5)]
    rows = [each for tenant in newcomers for each in waiting(lanes(tenant, 9))]

    chosen = choose([*waiting(lanes(busy[0], 9)), *rows], under_way=under_way[:-1])

    served = Counter(each.lane.tenant_id for each in rows if each in chosen)
    assert len(chosen) == MAX_CONCURRENT - len(under_way) + 1
    assert set(served.values()) == {1}
    assert set(served) <= set(newcomers)


def test_those_with_the_fewest_places_come_first() -> None:
    held, fresh = uuid.uuid4(), uuid.uuid4()
    old, new = waiting(lanes(held, 9)), waiting(lanes(fresh, 9))

    chosen = choose([*old, *new], under_way=lanes(held, 3))

    assert chosen[:3] == new[:3]


def test_an_origin_that_one_tenant_fills_is_open_to_another() -> None:
    slow = "https://shared.example:443"
    one, two = uuid.uuid4(), uuid.uuid4()
    of_one, of_two = waiting([Lane(one, slow)] * 9), waiting([Lane(two, slow)] * 2)

    chosen = choose([*of_one, *of_two], under_way=[Lane(one, slow)] * 2)

    assert set(chosen) == {*of_one[: MAX_AN_ORIGIN - 2], *of_two}


@pytest.mark.django_db(transaction=True)
def test_one_origin_is_one_however_it_is_written_and_another_is_another() -> None:
    same = ["http://one.example/a", "HTTP://ONE.example:80?b", "http://one.example.:0080/c"]
    others = ["http://one.example.test/", "https://one.example/", "http://one.example:8080/"]
    first = a_delivery(same[0])
    more_deliveries(first, [*same, *same, *others])

    claimed = claim_messages(under_way=(), now=timezone.now())

    counted = Counter(message.lane.origin for message in claimed.messages)
    assert counted == {
        "http://one.example:80": MAX_AN_ORIGIN,
        "http://one.example.test:80": 1,
        "https://one.example:443": 1,
        "http://one.example:8080": 1,
    }


def looks_until(url: str, *, most: int) -> int:
    """Return how many looks, one right after another, it takes until the address is chosen."""
    under_way: list[Lane] = []
    for count in range(1, most + 1):
        claimed = claim_messages(under_way=under_way, now=timezone.now())
        under_way += [message.lane for message in claimed.messages]
        if url in [message.url for message in claimed.messages]:
            return count
        assert claimed.again, f"the next look is a second away, after {count}"
    raise AssertionError(f"not within {most} looks")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("older", [False, True])
def test_thousands_for_one_dead_receiver_hide_neither_the_tenants_others_nor_another_tenant(
    older: bool,
) -> None:
    now = timezone.now()
    early = now - datetime.timedelta(minutes=5)
    quick = a_delivery("http://quick.example/")
    more_deliveries(quick, ["http://dead.example/"] * 3_000, next_attempt_at=early)
    a_delivery("http://other.example/")
    if older:  # written by a version that knew neither project nor origin
        WebhookDelivery.objects.update(project=None)

    assert looks_until("http://other.example/", most=1) == 1
    assert looks_until("http://quick.example/", most=3_000 // due.OF_A_TENANT + 1) > 1
    assert not WebhookDelivery.objects.filter(project=None).exists()
