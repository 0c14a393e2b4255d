"""Tasks that may be what kills workers: kept apart, in ever smaller company, then given up.

`crashes` counts leases lost without progress; a step that commits clears it, so an innocent
neighbour is soon back among the others.
"""

from __future__ import annotations

QUARANTINED_AT = 2  # from so many crashes on, only the quarantine worker claims the task
_BATCH_SIZES = {2: 16, 3: 4}  # how many tasks with that many crashes run side by side there
ISOLATED_AT = 4  # from here on each runs alone
FATAL_AT = ISOLATED_AT + 3  # three crashes while alone: the task is the cause


def batch_size(crashes: int) -> int:
    """Return how many tasks with this many crashes may run side by side in quarantine."""
    return _BATCH_SIZES.get(crashes, 1)
