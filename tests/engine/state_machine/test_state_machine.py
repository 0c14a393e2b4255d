"""The model check: hypothesis looks for an order of events that breaks a promise of the rows.

The plays of the suite are the same each time. `CAYLEX_MODEL_EXAMPLES=2000` looks longer, elsewhere
each time, and takes the minutes to find the shortest play that fails.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.engine.state_machine.machine import EngineMachine

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(0)]

EXAMPLES = os.environ.get("CAYLEX_MODEL_EXAMPLES")


def test_no_order_of_events_breaks_a_promise_of_the_rows() -> None:
    run_state_machine_as_test(
        EngineMachine,
        settings=settings(
            max_examples=int(EXAMPLES or 20),
            stateful_step_count=100,
            derandomize=not EXAMPLES,
            phases=(Phase.generate, Phase.shrink) if EXAMPLES else (Phase.generate,),
            report_multiple_bugs=False,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
