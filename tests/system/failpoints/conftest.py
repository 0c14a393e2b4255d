from collections.abc import Iterator

import pytest

from tasks_app.worker.database import Database


@pytest.fixture
def database(transactional_db: None) -> Iterator[Database]:
    """The threads on which a worker talks to the database."""
    made = Database(threads=2)
    yield made
    made.close()
    made.join()
