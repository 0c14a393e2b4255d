"""What submit decides by itself: the model and the limits."""

from __future__ import annotations

import pytest
from django.conf import settings

from agent_runtime.limits import Limits
from tasks_app.operations.limits import NONE_ASKED, limits_as_json, resolve_limits
from tasks_app.operations.submit import choose_model


@pytest.mark.parametrize(
    ("asked", "configured", "used"),
    [
        (None, "a/one", "a/one"),
        (None, "a/own", "a/own"),
        ("a/two", "a/one", "a/two"),
        ("a/one", "a/one", "a/one"),
        ("a/own", "a/own", "a/own"),
    ],
)
def test_a_model_that_may_be_used_comes_without_a_warning(
    asked: str | None, configured: str, used: str
) -> None:
    assert choose_model(asked=asked, configured=configured, allowed=("a/one", "a/two")) == (
        used,
        None,
    )


def test_a_refused_model_is_named_with_those_that_are_allowed() -> None:
    model, warning = choose_model(asked="A/ONE", configured="a/own", allowed=("a/one", "a/two"))

    assert model == "a/own"
    assert warning == (
        "The model 'A/ONE' is not allowed; 'a/own' is used instead. Allowed models: a/one, a/two."
    )


def test_a_refused_id_is_cut_in_the_warning() -> None:
    _, warning = choose_model(asked="x" * 100_000, configured="a", allowed=("a",))

    assert warning is not None
    assert len(warning) < 400


def test_without_caps_the_service_s_limits_hold() -> None:
    assert resolve_limits(project={}, asked=NONE_ASKED) == Limits(
        max_steps=settings.ENVIRONMENT.caylex_max_steps,
        max_tool_calls=None,
        timeout_seconds=settings.ENVIRONMENT.caylex_task_timeout_seconds,
    )


def test_limits_are_kept_with_a_schema_number() -> None:
    limits = Limits(max_steps=3, max_tool_calls=None, timeout_seconds=1.5)

    assert limits_as_json(limits) == {
        "schema": 1,
        "max_steps": 3,
        "max_tool_calls": None,
        "max_tokens": None,
        "max_cost_usd": None,
        "timeout_seconds": 1.5,
    }
