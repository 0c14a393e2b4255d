"""The outbox's rows, as senders claim and settle them."""

from __future__ import annotations

import datetime
import random
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from django.db import transaction

from tasks_app.models import WebhookDelivery, WebhookEndpoint
from tasks_app.states import DeliveryState
from tasks_app.webhooks.due import find_due, write_origins
from tasks_app.webhooks.fair import Lane, choose, in_the_way, origin_of
from tasks_app.webhooks.payload import body_of
from tasks_app.webhooks.secrets import live_secrets

LEASE = datetime.timedelta(seconds=60)  # well above what one try may take
# Seconds before the next try, one for each that failed: ten tries within a day.
WAITS = (5, 60, 300, 1_800, 7_200, 14_400, 18_000, 21_600, 21_600)
JITTER = 0.1
MAX_WAIT = 86_400.0  # that an address may ask for
GONE = 410
DISABLED = "The endpoint is disabled."


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingMessage:
    """A delivery in a sender's hands: what to send, where, and signed with what."""

    id: uuid.UUID
    lane: Lane
    url: str
    body: bytes
    attempts: int  # that failed before
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What one claim came to; `again` where the next look may find more at once."""

    messages: Sequence[OutgoingMessage]
    again: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryResult:
    """What became of one try; `retry_after` is in seconds, where the address asked for it."""

    status: int | None = None
    error: str = ""
    retry_after: float | None = None

    @property
    def delivered(self) -> bool:
        """True when the address took the message."""
        return self.status is not None and 200 <= self.status < 300


def claim_messages(*, under_way: Collection[Lane], now: datetime.datetime) -> Claimed:
    """Claim the due deliveries that have a place beside those under way, ready to be sent.

    1. Read what is due and choose: see `fair`. Those of disabled projects and tenants wait until
       these are enabled.
    2. Lock the chosen, passing over those that another sender has locked.
    3. Fail those whose endpoint was disabled meanwhile.
    4. Push the next attempt of the others behind the lease and commit. Whoever is killed from
       here on costs the message a delay: it is due again when the lease ends.
    """
    if not WebhookDelivery.objects.due(now).exists():
        return Claimed(messages=(), again=False)
    waiting = find_due(under_way=under_way, now=now)
    chosen = choose(waiting, under_way=under_way)
    lanes = [*under_way, *(each.lane for each in chosen)]
    behind = in_the_way(waiting, under_way=lanes)
    with transaction.atomic():
        write_origins(behind)
        due = WebhookDelivery.objects.due(now).filter(pk__in=[each.id for each in chosen])
        due = due.select_for_update(skip_locked=True, of=("self",))
        taken = list(due.select_related("endpoint", "task__project"))
        gone = [each.pk for each in taken if each.endpoint and each.endpoint.disabled_at]
        rows = [each for each in taken if each.pk not in gone]
        of_gone = WebhookDelivery.objects.filter(pk__in=gone)
        of_gone.update(state=DeliveryState.FAILED, last_error=DISABLED)
        of_rows = WebhookDelivery.objects.filter(pk__in=[each.pk for each in rows])
        of_rows.update(next_attempt_at=now + LEASE)
        projects = {each.task.project for each in rows}
        secrets = {each: live_secrets(project=each, now=now) for each in projects}
    messages = [_message(each, secrets[each.task.project]) for each in rows]
    return Claimed(messages=messages, again=bool(chosen or behind))


def _message(row: WebhookDelivery, secrets: tuple[str, ...]) -> OutgoingMessage:
    return OutgoingMessage(
        id=row.pk,
        lane=Lane(row.task.tenant_id, origin_of(row.url)),
        url=row.url,
        body=body_of(row),
        attempts=row.attempts,
        secrets=secrets,
    )


def record_outcome(
    *, message: OutgoingMessage, outcome: DeliveryResult, now: datetime.datetime
) -> None:
    """Write down what became of a try; without effect when another sender did so before.

    Taken: delivered. 410: failed, and the endpoint is disabled. Else it is due again after its
    wait, or later where the address asked for that, and failed after the last.
    """
    mine = WebhookDelivery.objects.filter(
        pk=message.id, state=DeliveryState.WAITING, attempts=message.attempts
    )
    seen = {
        "attempts": message.attempts + 1,
        "last_status": outcome.status,
        "last_error": outcome.error[:300],
    }
    if outcome.delivered:
        mine.update(state=DeliveryState.DELIVERED, delivered_at=now, **seen)
    elif outcome.status == GONE:
        with transaction.atomic():
            mine.update(state=DeliveryState.FAILED, **seen)
            _disable(message.id, now)
    elif message.attempts >= len(WAITS):
        mine.update(state=DeliveryState.FAILED, **seen)
    else:
        wait = WAITS[message.attempts] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
        wait = max(wait, min(outcome.retry_after or 0.0, MAX_WAIT))
        mine.update(next_attempt_at=now + datetime.timedelta(seconds=wait), **seen)


def _disable(delivery_id: uuid.UUID, now: datetime.datetime) -> None:
    WebhookEndpoint.objects.filter(deliveries=delivery_id, disabled_at__isnull=True).update(
        disabled_at=now, disabled_reason="The address answered 410: it is gone."
    )
