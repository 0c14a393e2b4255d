"""`manage.py doctor`: what is stuck, why, and what to do about it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tasks_app.monitoring.diagnose import Diagnosis, run_diagnostics
from tasks_app.monitoring.findings import Finding, Level
from tasks_app.monitoring.stats import ServiceStats, WorkerView

_WORDS = {
    Level.NOTE: "Note",
    Level.WARNING: "WARNING",
    Level.CRITICAL: "CRITICAL",
}


class Command(BaseCommand):
    """Print how the service stands and every finding, and end with a code for monitoring.

    Exit codes: 0 nothing is wrong, 1 there are warnings, 2 something is critical.
    """

    help = (
        "Says what is stuck and why. Exit code 0: nothing is wrong; 1: warnings; 2: critical. "
        "Changes nothing."
    )
    requires_system_checks: list[str] = []  # what they find is told among the findings

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--json`."""
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Examine, print, and exit."""
        diagnosis = run_diagnostics()
        lines = [_as_json(diagnosis)] if options["json"] else _as_text(diagnosis)
        self.stdout.write("\n".join(lines))
        sys.exit(int(diagnosis.level))


def _as_json(diagnosis: Diagnosis) -> str:
    figures = diagnosis.stats
    body = {
        "exit_code": int(diagnosis.level),
        "figures": None if figures is None else _figures_as_json(figures),
        "clock_offset_seconds": diagnosis.clock_offset,
        "workers": [] if figures is None else [_worker_as_json(w) for w in figures.workers],
        "findings": [
            {**asdict(each), "level": each.level.name.lower()} for each in diagnosis.findings
        ],
    }
    return json.dumps(body, indent=2, default=str)


def _figures_as_json(figures: ServiceStats) -> dict[str, Any]:
    body = asdict(figures)
    del body["workers"]
    return {**body, "at": figures.at.isoformat()}


def _worker_as_json(worker: WorkerView) -> dict[str, Any]:
    return {
        "id": str(worker.id),
        "host": worker.host,
        "pid": worker.pid,
        "version": worker.version,
        "state": _state(worker),
        "lease_left_seconds": round(worker.lease_left, 1),
        "heartbeat_age_seconds": round(worker.heartbeat_age, 1),
        "held": worker.held,
        "capacity": worker.capacity,
    }


def _as_text(diagnosis: Diagnosis) -> Iterator[str]:
    if diagnosis.stats is not None:
        yield from _figures_as_text(diagnosis.stats, diagnosis.clock_offset or 0.0)
    for finding in diagnosis.findings:
        yield from _finding_as_text(finding)
    if not diagnosis.findings:
        yield "Nothing is wrong."


def _figures_as_text(figures: ServiceStats, clock_offset: float) -> Iterator[str]:
    yield "Tasks"
    rows = [
        ("due", figures.due, f"the oldest for {figures.oldest_due_seconds:.0f} s"),
        ("waiting", figures.waiting, "for their next attempt"),
        ("suspended", figures.suspended, "their project or tenant is paused or disabled"),
        ("quarantined", figures.quarantined, "kept apart, workers died of them"),
        ("running", figures.running, f"{figures.orphaned} of them without a live worker"),
        ("stopping", figures.stopping, "asked to stop, not over"),
    ]
    for name, count, words in rows:
        yield f"  {name:<12} {count:>7}  {words}"
    yield f"Doorbell: {figures.wakeup_messages} messages. Clocks differ by {clock_offset:+.2f} s."
    yield "Workers"
    yield from _table(
        [
            ("host", "pid", "version", "state", "lease left", "heartbeat", "held", "of"),
            *(_worker_as_row(worker) for worker in figures.workers),
        ]
    )
    yield ""


def _worker_as_row(worker: WorkerView) -> tuple[str, ...]:
    return (
        worker.host,
        str(worker.pid),
        worker.version,
        _state(worker),
        f"{worker.lease_left:.0f} s",
        f"{worker.heartbeat_age:.0f} s ago",
        str(worker.held),
        str(worker.capacity),
    )


def _state(worker: WorkerView) -> str:
    return "late" if worker.late else str(worker.state.value)


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield f"  {'  '.join(cells)}".rstrip()


def _finding_as_text(finding: Finding) -> Iterator[str]:
    # What others wrote (a provider's reason, a host's name) must not steer the terminal.
    what = "".join(each if each.isprintable() else "?" for each in finding.what)
    yield f"{_WORDS[finding.level]}: {what}"
    yield f"  What to do: {finding.advice}"
    if finding.tasks:
        yield f"  For example: {', '.join(finding.tasks)}"
