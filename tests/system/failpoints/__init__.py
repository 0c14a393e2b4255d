import pytest

pytest.register_assert_rewrite("tests.system.failpoints.jsonl_log")
