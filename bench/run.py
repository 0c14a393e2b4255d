"""`python -m bench.run [--only steps,growth] [--quick]`: measure, and print the table.

Ends with 1 when a figure misses its `must` or could not be measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module

from bench import machine
from bench.figures import Section, render
from bench.harness import Stage

MEASUREMENTS = (
    *("steps", "growth", "waiting", "latency", "requests", "clients", "memory", "recovery"),
    *("listing", "admin"),  # the last: their million rows stay
)

Measure = Callable[..., Section]


def chosen(only: str) -> Sequence[str]:
    """Return the names of the measurements to make. Ends the process when one is unknown."""
    names = only.split(",") if only else MEASUREMENTS
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        sys.exit(f"Unknown: {', '.join(unknown)}. There are {', '.join(MEASUREMENTS)}.")
    return names


def head(stage: Stage) -> list[str]:
    """Return what was measured on."""
    return [
        f"{machine.cpu_model()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        f"Python {platform.python_version()}, PostgreSQL {stage.postgresql_version()}",
        f"before: load {machine.load()}, processors busy with others {machine.busy(3):.0%}",
        "",
    ]


def main() -> int:
    """Measure what was asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help=f"of {', '.join(MEASUREMENTS)}")
    parser.add_argument("--quick", action="store_true", help="one round of each, a rough figure")
    options = parser.parse_args()
    names, sections, broken = chosen(options.only), [], []
    began = time.monotonic()
    with Stage() as stage:
        lines = head(stage)
        for name in names:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            measure: Measure = import_module(f"bench.measure.{name}").measure
            try:
                sections.append(measure(stage, quick=options.quick))
            except Exception:  # noqa: BLE001  (what the others have measured is not lost with it)
                traceback.print_exc()
                broken.append(name)
        import_module("bench.service").close()
    print("\n".join(lines) + render(sections))
    took = time.monotonic() - began
    busy = f"load {machine.load()}, processors busy with others {machine.busy(3):.0%}"
    print(f"\ntook {took:.0f} s, after: {busy}")
    missed = [row for section in sections for row in section.rows if row.must_met is False]
    if broken:
        print(f"Not measured, for an error of its own: {', '.join(broken)}.", file=sys.stderr)
    return 1 if missed or broken else 0


if __name__ == "__main__":
    sys.exit(main())
