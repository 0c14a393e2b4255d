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


class ListenerEvents:
    """What a listener said, in order."""

    def __init__(self) -> None:
        self.awaited: list[uuid.UUID] = []
        self.changed: Queue[Sequence[uuid.UUID]] = Queue()
        self.found: Queue[Mapping[uuid.UUID, str]] = Queue()


@pytest.fixture
def listener_events(transactional_db: None) -> Iterator[ListenerEvents]:
    """A running listener that has begun to listen."""
    listener_events = ListenerEvents()
    marker = uuid.uuid4()
    listener_events.awaited.append(marker)
    listener = ChangeListener(
        awaited=lambda: list(listener_events.awaited),
        changed=listener_events.changed.put,
        found=lambda asked, versions: listener_events.found.put(versions),
    )
    listener.start()
    listener_events.found.get(timeout=PATIENCE)  # it looks once it listens
    listener_events.awaited.remove(marker)
    yield listener_events
    listener.stop()
    listener.join(PATIENCE)
    assert not listener.is_alive()
