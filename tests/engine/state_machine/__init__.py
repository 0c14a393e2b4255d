import pytest

pytest.register_assert_rewrite(
    "tests.engine.state_machine.machine", "tests.engine.state_machine.rows"
)
