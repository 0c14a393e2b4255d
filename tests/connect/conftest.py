from tests.engine.test_engine import start
from tests.support.accounts import acme, backend

__all__ = ["acme", "backend", "start"]
