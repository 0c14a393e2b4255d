"""The stage on which the faults happen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.faults.harness import Stage, raised_stage


@pytest.fixture
def stage(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A stage in the suite's own database; `running_cluster` finds everything by itself."""
    with raised_stage() as stage:
        monkeypatch.setenv("OPENROUTER_BASE_URL", stage.model.base_url)
        yield stage
