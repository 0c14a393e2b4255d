"""The outbox's rows, as senders claim and settle them."""

from __future__ import annotations

import datetime
import random
import uuid
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from django.db import transaction
from django.db.models import Q

from tasks_app.models import WebhookDelivery, WebhookEndpoint
from tasks_app.states import DeliveryState
from tasks_app.webhooks.body import body_of
from tasks_app.webhooks.secrets import live_secrets

LEASE = datetime.timedelta(seconds=60)  # well above what one try may take
LOOKED_AT = 200  # due rows that one claim chooses from
MOST_AN_ORIGIN = 4  # messages to one origin at once, so that a slow one does not hold up others
# Seconds before the next try, one for each that failed: ten tries within a day.
WAITS = (5, 60, 300, 1_800, 7_200, 14_400, 18_000, 21_600, 21_600)
JITTER = 0.1
LONGEST_WAIT = 86_400.0  # that an address may ask for
GONE = 410
DISABLED = "The endpoint is disabled."


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A delivery in a sender's hands: what to send, where, and signed with what."""

    id: uuid.UUID
    url: str
    body: bytes
    attempts: int  # that failed before
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one try; `retry_after` is in seconds, where the address asked for it."""

    status: int | None = None
    error: str = ""
    retry_after: float | None = None

    @property
    def delivered(self) -> bool:
        """True when the address took the message."""
        return self.status is not None and 200 <= self.status < 300


def origin_of(url: str) -> str:
    """Return scheme, host and port of an address, as they are written."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def claim_messages(*, limit: int, busy: Collection[str], now: datetime.datetime) -> list[Message]:
    """Claim due deliveries; return at most `limit` of them, ready to be sent.

    `busy` holds the origins that have enough under way, one mention for each message.
    1. Lock due rows, passing over those that another sender has locked, and those of disabled
       projects and tenants, which wait until these are enabled.
    2. Fail those whose endpoint was disabled meanwhile.
    3. Push the next attempt of the chosen behind the lease and commit. Whoever is killed from
       here on costs the message a delay: it is due again when the lease ends.
    """
    if not WebhookDelivery.objects.due(now).exists():
        return []
    with transaction.atomic():
        chosen = _choose(_due(busy, now), limit, busy)
        gone = [each.pk for each in chosen if each.endpoint and each.endpoint.disabled_at]
        rows = [each for each in chosen if each.pk not in gone]
        of_gone = WebhookDelivery.objects.filter(pk__in=gone)
        of_gone.update(state=DeliveryState.FAILED, last_error=DISABLED)
        of_chosen = WebhookDelivery.objects.filter(pk__in=[each.pk for each in rows])
        of_chosen.update(next_attempt_at=now + LEASE)
        projects = {each.task.project for each in rows}
        secrets = {each: live_secrets(project=each, now=now) for each in projects}
    return [
        Message(
            id=each.pk,
            url=each.url,
            body=body_of(each),
            attempts=each.attempts,
            secrets=secrets[each.task.project],
        )
        for each in rows
    ]


def _due(busy: Collection[str], now: datetime.datetime) -> Iterable[WebhookDelivery]:
    full = Q(pk__in=[])
    for origin, count in Counter(busy).items():
        if count >= MOST_AN_ORIGIN:
            full |= Q(url__startswith=origin)
    lockable = (
        WebhookDelivery.objects.due(now)
        .filter(task__project__disabled_at=None, task__tenant__disabled_at=None)
        .exclude(full)
        .select_for_update(skip_locked=True, of=("self",))
    )
    return lockable.select_related("endpoint", "task__project").order_by("next_attempt_at")[
        :LOOKED_AT
    ]


def _choose(
    due: Iterable[WebhookDelivery], limit: int, busy: Collection[str]
) -> list[WebhookDelivery]:
    under_way = Counter(busy)
    chosen: list[WebhookDelivery] = []
    for each in due:
        origin = origin_of(each.url)
        if len(chosen) < limit and under_way[origin] < MOST_AN_ORIGIN:
            under_way[origin] += 1
            chosen.append(each)
    return chosen


def settle(*, message: Message, outcome: Outcome, now: datetime.datetime) -> None:
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
        wait = max(wait, min(outcome.retry_after or 0.0, LONGEST_WAIT))
        mine.update(next_attempt_at=now + datetime.timedelta(seconds=wait), **seen)


def _disable(delivery_id: uuid.UUID, now: datetime.datetime) -> None:
    WebhookEndpoint.objects.filter(deliveries=delivery_id, disabled_at__isnull=True).update(
        disabled_at=now, disabled_reason="The address answered 410: it is gone."
    )
