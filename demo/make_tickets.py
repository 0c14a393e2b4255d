"""Make `tickets.csv`: support tickets of an invented company, the same ones each time.

    python -m demo.make_tickets

The dates lie in the eight weeks before ANCHOR. The tool server moves them so that ANCHOR is
today, which keeps the file fixed and "last week" full of tickets whenever the demo runs.
"""

from __future__ import annotations

import csv
import random
from datetime import datetime, timedelta
from pathlib import Path

PATH = Path(__file__).with_name("tickets.csv")
ANCHOR = datetime(2026, 1, 5)  # noqa: DTZ001  (a Monday; the time zone is the reader's)
DAYS = 56
COUNT = 300
FIELDS = (
    "id",
    "created_at",
    "customer",
    "product",
    "category",
    "status",
    "priority",
    "subject",
    "body",
)

CUSTOMERS = (
    "Alder & Sons",
    "Baltic Freight",
    "Cobalt Dental",
    "Dune Travel",
    "Elm Street Bakery",
    "Fjord Analytics",
    "Granite Legal",
    "Harbour Hotels",
    "Ibis Print",
    "Juniper Schools",
    "Kestrel Energy",
    "Lantern Media",
)
PRODUCTS = ("Atlas CRM", "Beacon Mail", "Cargo Billing", "Delta Sync")

# Category: weight, then (subject, body) with the blanks that `fill` knows.
PROBLEMS: dict[str, tuple[int, tuple[tuple[str, str], ...]]] = {
    "login": (
        9,
        (
            (
                "Cannot sign in after password reset",
                (
                    "Since the reset mail on {day}, {product} "
                    "answers every sign-in with 'session expired'. {count} people are affected."
                ),
            ),
            (
                "Two-factor code is refused",
                (
                    "The code from the app is refused in {product}. The "
                    "clock of the phone is right, we checked."
                ),
            ),
            (
                "Single sign-on loops",
                (
                    "Our identity provider sends people back to {product}, "
                    "which sends them back again. It began on {day}."
                ),
            ),
        ),
    ),
    "billing": (
        8,
        (
            (
                "Charged twice this month",
                "We see two charges of {amount} for {product}. Please return one of them.",
            ),
            (
                "Invoice shows the old address",
                (
                    "The invoice for {product} still shows our old "
                    "address although we changed it on {day}."
                ),
            ),
            (
                "Seats do not match the bill",
                "{product} bills us for {count} seats more than we have in use.",
            ),
        ),
    ),
    "sync": (
        7,
        (
            (
                "Contacts are missing after sync",
                (
                    "About {count} contacts that are in {product} "
                    "did not arrive on the phones since {day}."
                ),
            ),
            (
                "Duplicates after import",
                "The import into {product} made {count} duplicates. Can it be undone?",
            ),
            (
                "Sync stops half-way",
                "The sync of {product} stops at {count} records with a time limit error.",
            ),
        ),
    ),
    "performance": (
        5,
        (
            (
                "Reports take minutes",
                "The monthly report in {product} takes {count} seconds; before {day} it took ten.",
            ),
            (
                "Search is slow in the morning",
                "Between eight and nine, search in {product} needs {count} seconds.",
            ),
        ),
    ),
    "bug": (
        6,
        (
            (
                "Export cuts off umlauts",
                (
                    "The CSV export of {product} cuts names at the first "
                    "umlaut, for example 'Müller' becomes 'M'."
                ),
            ),
            (
                "Attachment cannot be opened",
                "Attachments over {count} MB uploaded to {product} come back empty.",
            ),
            (
                "Time zone is wrong in reminders",
                "Reminders of {product} arrive one hour late since {day}.",
            ),
        ),
    ),
    "feature request": (
        4,
        (
            (
                "Dark mode, please",
                "{count} of us work at night and would like a dark mode in {product}.",
            ),
            (
                "Bulk edit for tags",
                "We would like to change the tags of many records of {product} at once.",
            ),
        ),
    ),
    "how-to": (
        4,
        (
            (
                "How do we archive a project?",
                "We finished a project in {product} on {day} and found no way to archive it.",
            ),
            ("Where is the audit log?", "Our auditor asks for the audit log of {product}."),
        ),
    ),
}
CLOSINGS = (
    "",
    " It happens in two browsers.",
    " Nothing was changed on our side.",
    " A colleague sees the same.",
    " Please call us back before noon.",
    " A restart did not help.",
    " This is the second time this year.",
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")


def fill(text: str, product: str, dice: random.Random) -> str:
    """Return a problem's text with its blanks filled in."""
    return text.format(
        product=product,
        day=dice.choice(WEEKDAYS),
        count=dice.randint(3, 90),
        amount=f"{dice.randint(20, 900)}.00 EUR",
    )


def status_at(age_days: float, dice: random.Random) -> str:
    """Return a status: old tickets are mostly closed, new ones mostly open."""
    closed = min(0.95, 0.25 + age_days / 40)
    if dice.random() < closed:
        return dice.choice(("resolved", "resolved", "closed"))
    return dice.choice(("open", "open", "pending"))


def make_tickets(*, seed: int = 2026) -> list[dict[str, str]]:
    """Return the tickets, oldest first."""
    dice = random.Random(seed)
    categories = list(PROBLEMS)
    weights = [PROBLEMS[each][0] for each in categories]
    ages = sorted((dice.uniform(0.05, DAYS) for _ in range(COUNT)), reverse=True)
    tickets = []
    for number, age in enumerate(ages, start=1001):
        category = dice.choices(categories, weights)[0]
        product = dice.choices(PRODUCTS, (5, 3, 3, 2))[0]
        subject, body = dice.choice(PROBLEMS[category][1])
        created = (ANCHOR - timedelta(days=age)).replace(microsecond=0)
        values = (
            f"T-{number}",
            created.isoformat(),
            dice.choice(CUSTOMERS),
            product,
            category,
            status_at(age, dice),
            dice.choices(("low", "normal", "high", "urgent"), (3, 6, 3, 1))[0],
            subject,
            fill(body, product, dice) + dice.choice(CLOSINGS),
        )
        tickets.append(dict(zip(FIELDS, values, strict=True)))
    return tickets


def main() -> None:
    """Write the file."""
    with PATH.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(make_tickets())


if __name__ == "__main__":
    main()
