"""Tasks that may be what kills workers: kept apart, in ever smaller company, then given up.

`crashes` counts leases lost without progress; a step that commits clears it, so an innocent
neighbour is soon back among the others.
"""

from __future__ import annotations

QUARANTINED_AT = 2  # from so many crashes on, only the quarantine worker claims the task
_COMPANY = {2: 16, 3: 4}  # how many tasks with that many crashes run side by side there
ALONE_AT = 4  # from here on each runs alone
FATAL_AT = ALONE_AT + 3  # three crashes while alone: the task is the cause


def company(crashes: int) -> int:
    """Return how many tasks with this many crashes may run side by side in quarantine."""
    return _COMPANY.get(crashes, 1)
