"""The service's settings with the failpoints in its worker processes."""

from __future__ import annotations

from caylex_project.settings import *  # noqa: F403

CAYLEX_ENGINE = "tests.system.failpoints.engine"
