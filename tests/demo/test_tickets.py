"""The demo's data and its tool server's notes."""

from __future__ import annotations

import csv
from datetime import date, timedelta
from pathlib import Path

import pytest

from demo.make_tickets import COUNT, PATH, make_tickets
from demo.tickets import between, count_by, load_tickets
from demo.tool_server import Notes


def test_the_file_is_what_the_script_makes() -> None:
    with PATH.open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == make_tickets()


def test_the_tickets_are_varied_and_their_ids_unique() -> None:
    tickets = load_tickets(today=date(2026, 1, 5))
    assert len({each.id for each in tickets}) == COUNT
    assert len(count_by(tickets, field="category")) == 7
    assert set(count_by(tickets, field="status")) == {"open", "pending", "resolved", "closed"}
    assert len({each.body for each in tickets}) > 200


@pytest.mark.parametrize("today", [date(2026, 1, 5), date(2027, 8, 19), date(2025, 3, 1)])
def test_the_week_before_today_always_holds_the_same_tickets(today: date) -> None:
    week = between(
        load_tickets(today=today),
        since=str(today - timedelta(days=7)),
        until=str(today - timedelta(days=1)),
    )
    first = between(load_tickets(today=date(2026, 1, 5)), since="2025-12-29", until="2026-01-04")
    assert [each.id for each in week] == [each.id for each in first]
    assert len(week) >= 10
    assert max(each.day for each in load_tickets(today=today)) == today - timedelta(days=1)


def test_notes_outlive_the_server_in_a_file_and_keep_their_keys(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    first = Notes(path=path)
    assert first.add(ticket="T-1001", author="jane", text="one", key="k") is True
    again = Notes(path=path)
    assert again.add(ticket="T-1001", author="jane", text="one", key="k") is False
    assert again.of(ticket="T-1001") == [{"author": "jane", "text": "one"}]
