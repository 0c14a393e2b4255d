"""Everything that may be wrong, from the settings to the rows."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.core import checks
from django.db import Error

from caylex_project.db.server_time import database_now
from tasks_app.monitoring import stats
from tasks_app.monitoring.findings import EXAMPLES, Finding, Level, find_problems
from tasks_app.monitoring.session_findings import UNREADABLE, session_findings
from tasks_app.monitoring.stats import ServiceStats
from tasks_app.monitoring.system_checks import TAG

CLOCK_WARNING = 1.0  # seconds between the database's clock and ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """All findings, the worst first, and the figures that they come from.

    `stats` is None where the rows could not be read; `clock_offset` is the database's clock
    less this process's, in seconds.
    """

    findings: tuple[Finding, ...]
    stats: ServiceStats | None = None
    clock_offset: float | None = None

    @property
    def level(self) -> Level:
        """The worst level of all."""
        return max((finding.level for finding in self.findings), default=Level.NOTE)


def run_diagnostics() -> Diagnosis:
    """Look at everything; never raises for a database that is away or of another version."""
    findings = list(_settings())
    figures = offset = None
    try:
        sessions = list(session_findings())
        findings += sessions
        if any(each.code == UNREADABLE for each in sessions):
            return Diagnosis(findings=_worst_first(findings))
        missing = stats.unapplied_migrations()
        if missing:
            findings.append(_not_migrated(missing))
        else:
            offset, error = _clock_offset()
            figures = stats.collect_stats()
            findings += [*_clock(offset, error), *find_problems(figures)]
    except Error as error_of_database:
        findings.append(_database_away(error_of_database))
    return Diagnosis(findings=_worst_first(findings), stats=figures, clock_offset=offset)


def _worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda finding: -finding.level))


def _settings() -> Iterator[Finding]:
    for message in checks.run_checks(tags=[TAG]):
        if message.is_silenced():
            continue
        serious = message.level >= checks.ERROR
        yield Finding(
            level=Level.CRITICAL if serious else Level.WARNING,
            code=message.id or "settings",
            what=str(message.msg),
            advice=message.hint or "Change the setting and restart the processes.",
        )


def _database_away(error: Exception) -> Finding:
    lines = str(error).strip().splitlines()
    return Finding(
        level=Level.CRITICAL,
        code="database_away",
        what=f"The database does not answer: {lines[0] if lines else type(error).__name__}",
        advice="Start it, or correct DATABASE_URL. Workers and web processes go on by themselves "
        "when it is back; no task is lost.",
    )


def _not_migrated(missing: list[str]) -> Finding:
    shown = ", ".join(missing[:EXAMPLES]) + (" and more" if len(missing) > EXAMPLES else "")
    return Finding(
        level=Level.CRITICAL,
        code="migrations_missing",
        what=f"{len(missing)} migrations are not applied: {shown}. The rest was not looked at.",
        advice="Run `manage.py migrate`.",
    )


def _clock_offset() -> tuple[float, float]:
    """Return the database's clock less ours in seconds, and how far that may be off."""
    before = datetime.datetime.now(datetime.UTC)
    theirs = database_now()
    after = datetime.datetime.now(datetime.UTC)
    half = (after - before) / 2
    return (theirs - before - half).total_seconds(), half.total_seconds()


def _clock(offset: float, error: float) -> Iterator[Finding]:
    surely = abs(offset) - error
    if surely >= CLOCK_WARNING:
        yield Finding(
            level=Level.WARNING,
            code="clocks_differ",
            what=f"This machine's clock is {abs(offset):.1f} s "
            f"{'behind' if offset > 0 else 'ahead of'} the database's.",
            advice="Have both follow a time server. Tasks go by the database's clock, but "
            "certificates, sign-ins with an authenticator and log lines by this machine's.",
        )
