"""A message is sent once more, under the id that it had."""

from __future__ import annotations

import uuid

import pytest
from django.utils import timezone

from tasks_app.models import WebhookDelivery
from tasks_app.operations.webhooks import DeliveryNotFound, RedeliverRefused, redeliver
from tasks_app.states import DeliveryState
from tasks_app.worker.database import Database
from tests.support.webhook_rows import a_delivery, an_endpoint
from tests.webhooks.conftest import Clocked, Receiver


@pytest.mark.parametrize("state", [DeliveryState.DELIVERED, DeliveryState.FAILED])
async def test_it_goes_out_again_with_the_same_id_and_body(
    state: DeliveryState, database: Database, receiver: Receiver, clocked: Clocked
) -> None:
    delivery = await database.run(a_delivery, receiver.url)
    await clocked.round(later=1)
    await database.run(WebhookDelivery.objects.update, state=state, attempts=10)
    assert await clocked.round(later=1) == 0
    await database.run(
        redeliver, delivery_id=delivery.pk, tenant_id=delivery.task.tenant_id, now=clocked.now
    )
    assert await clocked.round() == 1
    first, second = receiver.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == str(delivery.pk)
    assert first.body == second.body
    row = await database.run(WebhookDelivery.objects.get, pk=delivery.pk)
    assert (row.state, row.attempts) == (DeliveryState.DELIVERED, 1)


@pytest.mark.django_db
def test_another_tenants_delivery_does_not_exist() -> None:
    delivery = a_delivery("https://example.com/")
    before = WebhookDelivery.objects.values().get()
    for tenant_id, delivery_id in ((uuid.uuid4(), delivery.pk), (None, uuid.uuid4())):
        with pytest.raises(DeliveryNotFound):
            redeliver(delivery_id=delivery_id, tenant_id=tenant_id, now=timezone.now())
    assert WebhookDelivery.objects.values().get() == before


@pytest.mark.django_db
def test_to_a_disabled_endpoint_nothing_is_sent_again() -> None:
    delivery = a_delivery("https://example.com/")
    endpoint = an_endpoint(delivery.task, "https://example.com/", disabled_at=timezone.now())
    WebhookDelivery.objects.update(endpoint=endpoint, state=DeliveryState.FAILED)
    with pytest.raises(RedeliverRefused):
        redeliver(delivery_id=delivery.pk, tenant_id=None, now=timezone.now())
    assert WebhookDelivery.objects.get().state == DeliveryState.FAILED
