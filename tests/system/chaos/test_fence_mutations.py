"""Each fence can be taken out of the engine as it is today."""

import os
import subprocess
import sys

import pytest

IMPORT = "import django; django.setup(); import tests.system.chaos.fence_mutations"


@pytest.mark.parametrize("fence", ["claim-fence", "epoch-fence", "hand-back-by-owner"])
def test_a_fence_is_where_it_is_taken_out(fence: str) -> None:
    environment = {
        **os.environ,
        "DEBUG": "1",
        "DJANGO_SETTINGS_MODULE": "caylex_project.settings",
        "CHAOS_WITHOUT": fence,
    }
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
