"""A database for the tasks of the cases."""

from tests.engine.conftest import database

__all__ = ["database"]
