"""A process counts on from the database's clock, whatever its own says."""

from __future__ import annotations

import datetime

import pytest
from django.db import connection

from caylex_project.db import clock as module
from caylex_project.db.clock import FRESH_SECONDS, DatabaseClock
from caylex_project.db.clock import clock as of_process

THEIRS = datetime.datetime(2026, 11, 28, 12, 0, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)


class Machine:
    """A machine whose clock is wrong, and a database whose clock is right."""

    def __init__(self, *, wrong_by: float) -> None:
        self.monotonic = 1000.0
        self.theirs = THEIRS
        self.wrong_by = wrong_by
        self.clock = DatabaseClock(monotonic=lambda: self.monotonic, own=self.own)

    def own(self) -> datetime.datetime:
        return self.theirs + self.wrong_by * SECOND

    def pass_time(self, seconds: float) -> None:
        self.monotonic += seconds
        self.theirs += seconds * SECOND

    def measure(self, *, there: float = 0.0, back: float = 0.0) -> None:
        """Ask the database; the question and the answer take so long."""

        def read() -> datetime.datetime:
            self.pass_time(there)
            theirs = self.theirs
            self.pass_time(back)
            return theirs

        self.clock.measure(read)

    @property
    def error(self) -> float:
        return abs((self.clock.now() - self.theirs).total_seconds())


@pytest.mark.parametrize("wrong_by", [-400.0, -120.0, 0.0, 120.0, 400.0])
def test_it_tells_the_databases_time_whatever_the_machine_says(wrong_by: float) -> None:
    machine = Machine(wrong_by=wrong_by)
    assert machine.clock.now() == machine.own(), "the only clock that it has so far"
    machine.measure()
    for _ in range(3):
        assert machine.error < 0.001
        machine.pass_time(3600)
    assert machine.clock.ahead_of_own == pytest.approx(-wrong_by, abs=0.001)


def test_a_clock_that_is_set_while_the_process_runs_changes_nothing() -> None:
    machine = Machine(wrong_by=0.0)
    machine.measure()
    machine.wrong_by = 7200.0
    assert machine.error < 0.001


def test_a_slow_answer_does_not_spoil_a_good_measurement() -> None:
    machine = Machine(wrong_by=120.0)
    machine.measure(there=0.001, back=0.001)
    machine.measure(there=4.0, back=0.0)
    machine.measure(there=0.0, back=4.0)
    assert machine.error < 0.01


def test_a_first_answer_that_was_slow_is_replaced_by_a_better_one() -> None:
    machine = Machine(wrong_by=0.0)
    machine.measure(there=4.0, back=0.0)
    assert machine.error == pytest.approx(2.0)
    machine.measure(there=0.001, back=0.001)
    assert machine.error < 0.01


def test_a_database_whose_clock_is_set_is_followed() -> None:
    machine = Machine(wrong_by=0.0)
    machine.measure()
    machine.theirs += 300 * SECOND
    machine.measure(there=0.5, back=0.5)
    assert machine.error < 1.0


def test_an_old_measurement_gives_way_to_a_less_exact_one() -> None:
    machine = Machine(wrong_by=0.0)
    machine.measure()
    assert machine.clock.is_fresh
    machine.pass_time(FRESH_SECONDS + 1)
    assert not machine.clock.is_fresh
    machine.measure(there=0.01, back=0.01)
    assert machine.clock.is_fresh


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_a_web_process_measures_when_a_connection_is_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(wrong_by=0.0)
    monkeypatch.setattr(of_process, "_known", None)
    monkeypatch.setattr(of_process, "_own", lambda: machine.own() + datetime.timedelta(days=9))
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        theirs = cursor.fetchone()[0]
    assert abs((module.clock.now() - theirs).total_seconds()) < 60.0
