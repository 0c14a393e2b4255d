"""A database for runs that are longer than a model's window."""

from tests.engine.conftest import database

__all__ = ["database"]
