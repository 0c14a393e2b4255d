"""The service's settings with a stub for the engine, and the workers' own words on stderr."""

from __future__ import annotations

from caylex_project.settings import *  # noqa: F403

CAYLEX_ENGINE = "tests.system.processes.stub"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
