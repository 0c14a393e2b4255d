import uuid
from collections.abc import Iterator, Mapping, Sequence
from queue import Queue

import pytest

from tasks_app.notifications.change_listener import ChangeListener
from tasks_app.worker.database import Database
from tests.support.cluster import PATIENCE


@pytest.fixture
def database(transactional_db: None) -> Iterator[Database]:
    """The threads on which a worker talks to the database."""
    made = Database(threads=2)
    yield made
    made.close()
    made.join()


class Heard:
    """What a listener said, in order."""

    def __init__(self) -> None:
        self.awaited: list[uuid.UUID] = []
        self.changed: Queue[Sequence[uuid.UUID]] = Queue()
        self.found: Queue[Mapping[uuid.UUID, str]] = Queue()


@pytest.fixture
def heard(transactional_db: None) -> Iterator[Heard]:
    """A running listener that has begun to listen."""
    heard = Heard()
    marker = uuid.uuid4()
    heard.awaited.append(marker)
    listener = ChangeListener(
        awaited=lambda: list(heard.awaited),
        changed=heard.changed.put,
        found=lambda asked, versions: heard.found.put(versions),
    )
    listener.start()
    heard.found.get(timeout=PATIENCE)  # it looks once it listens
    heard.awaited.remove(marker)
    yield heard
    listener.stop()
    listener.join(PATIENCE)
    assert not listener.is_alive()
