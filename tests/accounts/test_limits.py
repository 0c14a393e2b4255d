"""A project's limits: known keys alone, and sane ones."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from caylex_project.accounts.limits import ProjectLimits


def test_what_is_set_is_kept_and_the_rest_is_no_cap() -> None:
    limits = ProjectLimits.model_validate({"max_steps": 5, "timeout_seconds": 60})

    assert limits.as_json() == {"max_steps": 5, "timeout_seconds": 60.0}
    assert limits.max_pending is None


@pytest.mark.parametrize(
    "value",
    [
        {"max_stepz": 5},
        {"max_steps": 0},
        {"max_steps": True},
        {"max_steps": "5"},
        {"max_steps": 5.5},
        {"max_pending": 10**12},
        {"timeout_seconds": 0},
        {"timeout_seconds": float("nan")},
        {"timeout_seconds": float("inf")},
    ],
)
def test_an_unknown_key_or_an_odd_number_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ProjectLimits.model_validate(value)
