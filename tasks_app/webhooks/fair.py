"""Which of the waiting messages go next: places are shared out over tenants, then over origins.

A receiver that accepts a message and never answers holds its place for the whole time of a try.
So a tenant has a largest number of places, however many receivers of its own are dead, and the
last places are only for tenants that have none.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from agent_runtime.errors import AddressRefused
from agent_runtime.net.web_address import WebAddress

MAX_CONCURRENT = 100  # messages under way at once in one process; each is a socket
MAX_A_TENANT = 20
MAX_AN_ORIGIN = 4  # of one tenant: a slow server does not hold up the tenant's other ones
KEPT_FREE = 20  # of MAX_CONCURRENT, for tenants with nothing under way: one message each


class Lane(NamedTuple):
    """What messages share that wait for the same server on behalf of the same tenant."""

    tenant_id: uuid.UUID
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A message that is due; `unmarked` where its row is to say its origin and does not."""

    id: uuid.UUID
    lane: Lane
    unmarked: bool = False


def origin_of(url: str) -> str:
    """Return scheme, host and port of an address; one that cannot be read is its own origin."""
    try:
        return WebAddress.of(url).origin
    except AddressRefused:
        return url[:300]


def choose(waiting: Iterable[Waiting], *, under_way: Collection[Lane]) -> list[Waiting]:
    """Return the messages to send now, beside those under way.

    Tenants take turns, those with the fewest places first; `waiting` decides among a tenant's.
    """
    of_tenant = Counter(lane.tenant_id for lane in under_way)
    of_lane = Counter(under_way)
    taken = len(under_way)
    chosen: list[Waiting] = []
    for each in _in_turn(waiting, of_tenant):
        tenant_id = each.lane.tenant_id
        if taken >= MAX_CONCURRENT:
            break
        if of_tenant[tenant_id] >= MAX_A_TENANT or of_lane[each.lane] >= MAX_AN_ORIGIN:
            continue
        if of_tenant[tenant_id] and taken >= MAX_CONCURRENT - KEPT_FREE:
            continue
        of_tenant[tenant_id] += 1
        of_lane[each.lane] += 1
        taken += 1
        chosen.append(each)
    return chosen


def _in_turn(waiting: Iterable[Waiting], of_tenant: Counter[uuid.UUID]) -> list[Waiting]:
    turns = Counter(of_tenant)
    placed: list[tuple[int, Waiting]] = []
    for each in waiting:
        turns[each.lane.tenant_id] += 1
        placed.append((turns[each.lane.tenant_id], each))
    return [each for _, each in sorted(placed, key=lambda pair: pair[0])]


def in_the_way(waiting: Iterable[Waiting], *, under_way: Collection[Lane]) -> list[Waiting]:
    """Return the unmarked messages of full lanes, which the next look is to leave out."""
    full = set(full_lanes(under_way))
    return [each for each in waiting if each.unmarked and each.lane in full]


def full_tenants(under_way: Collection[Lane]) -> list[uuid.UUID]:
    """Return the tenants that get no further place now."""
    counted = Counter(lane.tenant_id for lane in under_way)
    few = MAX_A_TENANT if len(under_way) < MAX_CONCURRENT - KEPT_FREE else 1
    return [tenant_id for tenant_id, count in counted.items() if count >= few]


def full_lanes(under_way: Collection[Lane]) -> list[Lane]:
    """Return the lanes that get no further place now."""
    return [lane for lane, count in Counter(under_way).items() if count >= MAX_AN_ORIGIN]
