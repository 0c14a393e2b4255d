import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "chaos: takes a minute (deselect with -m 'not chaos')")
