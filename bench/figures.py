"""The figures of a run, and the table of what they must be and aim to be."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table. `met` is None where there is no bar; `note` says what was done."""

    what: str
    value: float
    shown: str
    must: str = ""
    aim: str = ""
    must_met: bool | None = None
    aim_met: bool | None = None


@dataclass(kw_only=True)
class Section:
    """What one measurement found: rows of the table, and lines with the figures behind them."""

    title: str
    rows: list[Row] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def at_most(what: str, value: float, *, must: float, aim: float, unit: str = "") -> Row:
    """Return a row whose value is better when smaller."""
    return Row(
        what=what,
        value=value,
        shown=f"{_number(value)}{unit}",
        must=f"<= {_number(must)}{unit}",
        aim=f"<= {_number(aim)}{unit}",
        must_met=value <= must,
        aim_met=value <= aim,
    )


def at_least(what: str, value: float, *, must: float, aim: float, unit: str = "") -> Row:
    """Return a row whose value is better when larger."""
    return Row(
        what=what,
        value=value,
        shown=f"{_number(value)}{unit}",
        must=f">= {_number(must)}{unit}",
        aim=f">= {_number(aim)}{unit}",
        must_met=value >= must,
        aim_met=value >= aim,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of the values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    """Return the middle of the values."""
    return statistics.median(values)


def render(sections: Sequence[Section]) -> str:
    """Return the table of all rows, then the figures behind them."""
    rows = [row for section in sections for row in section.rows]
    cells = [("figure", "measured", "must", "met", "aim", "met")]
    cells += [
        (row.what, row.shown, row.must, _mark(row.must_met), row.aim, _mark(row.aim_met))
        for row in rows
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    for section in sections:
        lines += ["", f"## {section.title}", *section.lines]
    return "\n".join(lines)


def _mark(met: bool | None) -> str:
    return {None: "", True: "yes", False: "NO"}[met]


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
