"""The service's settings for a chaos run: all from the environment, as an operator sets them.

The run itself is no management command but keeps to their way with the database: no pool.
`CHAOS_WITHOUT` names a fence to take out of the workers; see `teeth`.
"""

from __future__ import annotations

import os

from caylex_project.settings import *  # noqa: F403
from caylex_project.settings import DATABASES

DATABASES["default"].get("OPTIONS", {}).pop("pool", None)

if os.environ.get("CHAOS_WITHOUT"):
    CAYLEX_ENGINE = "tests.system.chaos.fence_mutations"
