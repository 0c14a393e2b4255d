"""The service's settings with shorter waits, each named by a variable of the test."""

from __future__ import annotations

import os

from caylex_project.settings import *  # noqa: F403
from caylex_project.settings import DATABASES, Q_CLUSTER

CAYLEX_ENGINE = "tests.system.faults.engine"

if retry := os.environ.get("FAULTS_RETRY"):
    Q_CLUSTER |= {"timeout": 1, "retry": int(retry)}

if busy := os.environ.get("FAULTS_SQLITE_TIMEOUT"):
    DATABASES["default"]["OPTIONS"]["timeout"] = float(busy)
