"""The demo's tickets, with their dates moved so that the newest are from yesterday."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from demo.make_tickets import ANCHOR, PATH


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One support ticket. `created_at` is ISO 8601 in UTC."""

    id: str
    created_at: str
    customer: str
    product: str
    category: str
    status: str
    priority: str
    subject: str
    body: str

    @property
    def day(self) -> date:
        """The day on which it was created."""
        return datetime.fromisoformat(self.created_at).date()

    def summary(self) -> dict[str, str]:
        """Return all but the body."""
        return {name: value for name, value in asdict(self).items() if name != "body"}


def load_tickets(*, today: date, path: Path = PATH) -> list[Ticket]:
    """Return the tickets of the file, oldest first, moved by whole days so that ANCHOR is `today`.

    The last seven days before today always hold tickets, whenever the demo runs.
    """
    moved = timedelta(days=(today - ANCHOR.date()).days)
    tickets = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            created = datetime.fromisoformat(row["created_at"]).replace(tzinfo=UTC) + moved
            tickets.append(Ticket(**{**row, "created_at": created.isoformat()}))
    return tickets


def between(tickets: list[Ticket], *, since: str | None, until: str | None) -> list[Ticket]:
    """Return the tickets of the days from `since` to `until`, both included, as YYYY-MM-DD.

    Raises ValueError for anything else.
    """
    first = date.fromisoformat(since[:10]) if since else date.min
    last = date.fromisoformat(until[:10]) if until else date.max
    return [each for each in tickets if first <= each.day <= last]


def count_by(tickets: list[Ticket], *, field: str) -> dict[str, int]:
    """Return how many tickets there are for each value of a field, the most frequent first."""
    return dict(Counter(getattr(each, field) for each in tickets).most_common())
