"""A short form of `make chaos` on the suite's own engine."""

import os
import subprocess
import sys

import pytest

from tests.support.fork_server import ROOT

SECONDS = "40"
SEED = "4"


@pytest.mark.chaos
@pytest.mark.timeout(400)
def test_under_chaos_every_task_ends_as_scripted() -> None:
    database = os.environ.get("CAYLEX_TEST_DATABASE", "postgresql")
    arguments = ["--database", database, "--seconds", SECONDS, "--seed", SEED]
    done = subprocess.run(
        [sys.executable, "-m", "tests.system.chaos.run", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("PASS\n")
